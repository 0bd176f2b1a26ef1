"""An Indian postal address. Phone and PIN may contain spaces, dots, dashes and brackets."""

from __future__ import annotations

import re

from rest_framework import serializers

NOT_A_DIGIT = re.compile(r"[\s().-]")
# A PIN has six digits and begins with the postal zone; a mobile number has ten, with or without the
# country code. No two gaps are adjacent, or a long gap would take exponential time to match.
_GAP = r"[\s().-]*"
TYPED_PIN = rf"^{_GAP}[1-9](?:{_GAP}[0-9]){{5}}{_GAP}$"
TYPED_PHONE = rf"^{_GAP}(?:(?:\+{_GAP})?9{_GAP}1{_GAP}|0{_GAP})?[6-9](?:{_GAP}[0-9]){{9}}{_GAP}$"
NO_PIN = "A PIN code has six digits, like 560001."
NO_PHONE = "A mobile number has ten digits, like 98450 12345."
NOT_INDIA = "We deliver within India only."


class AddressSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    line1 = serializers.CharField(max_length=200)
    line2 = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    city = serializers.CharField(max_length=100)
    state = serializers.CharField(max_length=100)
    postal_code = serializers.RegexField(
        TYPED_PIN, max_length=12, error_messages={"invalid": NO_PIN}
    )
    country = serializers.RegexField(
        "^[Ii][Nn]$", max_length=2, default="IN", error_messages={"invalid": NOT_INDIA}
    )
    phone = serializers.RegexField(TYPED_PHONE, max_length=24, error_messages={"invalid": NO_PHONE})

    def validate_postal_code(self, value: str) -> str:
        return NOT_A_DIGIT.sub("", value)

    def validate_country(self, _value: str) -> str:
        return "IN"

    def validate_phone(self, value: str) -> str:
        """:return: +91 and ten digits, as Razorpay's form expects it."""
        return f"+91{NOT_A_DIGIT.sub('', value)[-10:]}"
