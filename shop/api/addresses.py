"""An Indian postal address, checked kindly: people type phones and PINs with spaces."""

from __future__ import annotations

import re

from rest_framework import serializers

NOT_A_DIGIT = re.compile(r"[\s().-]")
PIN = re.compile(r"[1-9][0-9]{5}")  # six digits, and the first is the postal zone 1-9
PHONE = re.compile(r"(?:\+91|91|0)?([6-9][0-9]{9})")


class AddressSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    line1 = serializers.CharField(max_length=200)
    line2 = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    city = serializers.CharField(max_length=100)
    state = serializers.CharField(max_length=100)
    postal_code = serializers.CharField(max_length=12)
    country = serializers.CharField(max_length=2, default="IN")
    phone = serializers.CharField(max_length=24)

    def validate_postal_code(self, value: str) -> str:
        digits = NOT_A_DIGIT.sub("", value)
        if not PIN.fullmatch(digits):
            raise serializers.ValidationError("A PIN code has six digits, like 560001.")
        return digits

    def validate_country(self, value: str) -> str:
        if value.upper() != "IN":
            raise serializers.ValidationError("We deliver within India only.")
        return "IN"

    def validate_phone(self, value: str) -> str:
        """:return: +91 and ten digits, as Razorpay's form takes it."""
        match = PHONE.fullmatch(NOT_A_DIGIT.sub("", value))
        if not match:
            raise serializers.ValidationError("A mobile number has ten digits, like 98450 12345.")
        return f"+91{match[1]}"
