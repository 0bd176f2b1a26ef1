"""
Redaction: removes secrets and personal data from log lines and stored errors.

The shop does not log such values; this is the second defence, for what a library, a traceback or
an error of Razorpay contains. It hides the secrets of the settings, and everything that looks like
a token, a card, a phone number or an e-mail address. It may hide a harmless number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

HIDDEN = "[redacted]"
MIN_SECRET = 6  # characters; shorter values are words such as "unset"

# Values with one of these names are always hidden.
NAMES = frozenset(
    {
        *("authorization", "cookie", "set-cookie", "password", "passwd", "passphrase", "secret"),
        *("token", "access", "refresh", "api_key", "key_secret", "pin", "otp", "cvv", "cvc"),
        *("signature", "razorpay_signature", "x-razorpay-signature"),
        *("card", "card_number", "vpa", "email", "phone", "contact"),
    }
)
_WORDS = "|".join(sorted(NAMES))
# In text: quoted as in JSON, in Python, or in JSON inside JSON.
_NAMED = re.compile(
    rf"""((\\*["'])(?:{_WORDS})\\*["']\s*:\s*)(?:(\\*["']).*?(?<!\\)\3|[\d.]+)""",
    re.IGNORECASE | re.DOTALL,
)
_AT = re.compile(
    r"(?<=://)[^\s/@\"']*:[^\s/@\"']+(?=@)"  # the login in a URL
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # an e-mail address
)
_CREDENTIALS = re.compile(r"\b(?:Bearer|Basic|Token)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_JSON_WEB_TOKEN = re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*")
_LONG_NUMBER = re.compile(r"\d{4}")
_NUMBERS = re.compile(
    r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])"  # a card
    r"|(?<![\w.-])(?:\+?91[ -]?|0)?[6-9]\d{4}[ -]?\d{5}(?![\w-])"  # an Indian mobile number
)

_secrets: tuple[str, ...] = ()


def learn(secrets: Iterable[str]) -> None:
    """Hide these values from now on, in this process. The settings call it."""
    global _secrets  # noqa: PLW0603 - of this process
    known = {secret for secret in secrets if len(secret) >= MIN_SECRET}
    _secrets = tuple(sorted(known, key=len, reverse=True))


def redacted(text: str) -> str:
    """The text without secrets and personal data. A repeat changes nothing."""
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if "'" in text or '"' in text:
        text = _NAMED.sub(rf"\1\2{HIDDEN}\2", text)
    if "@" in text:
        text = _AT.sub(HIDDEN, text)
    if " " in text:
        text = _CREDENTIALS.sub(HIDDEN, text)
    if "eyJ" in text:
        text = _JSON_WEB_TOKEN.sub(HIDDEN, text)
    if _LONG_NUMBER.search(text):
        text = _NUMBERS.sub(HIDDEN, text)
    return text


def redacted_value(value: object, name: str = "") -> object:
    """The same for any value of a log line, which has the key `name` there."""
    if name.lower() in NAMES:
        return HIDDEN
    match value:
        case str():
            return redacted(value)
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(key): redacted_value(item, str(key)) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redacted_value(item) for item in value]
        case _:
            return redacted(repr(value))
