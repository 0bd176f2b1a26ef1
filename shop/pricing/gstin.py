"""
GSTINs: the tax registration numbers of businesses in India.

15 characters: state code, PAN, number of the registration, `Z` as a rule, check digit. A right
check digit does not prove a live registration: only the GST portal knows that.
"""

from __future__ import annotations

import re

from shop.pricing.supply import STATE_NAMES

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Ordinary taxpayers, government departments, and bodies of the United Nations. Numbers of those who
# only deduct or collect tax at source (TDS, TCS) do not buy goods.
FORMATS = re.compile(
    r"[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z][Z1-9ABD-J][0-9A-Z]"
    r"|[0-9]{2}[A-Z]{4}[0-9]{5}[A-Z][0-9]Z[0-9]"
    r"|[0-9]{4}[A-Z]{3}[0-9]{5}[UO]N[A-Z0-9]"
)


def normalised(text: str) -> str:
    """As it is compared and stored: upper case, without blanks."""
    return "".join(text.split()).upper()


def check_digit(first_14: str) -> str:
    """The 15th character that belongs to the first 14."""
    total = 0
    for place, character in enumerate(first_14):
        product = ALPHABET.index(character) * (2 if place % 2 else 1)
        total += product // 36 + product % 36
    return ALPHABET[(36 - total % 36) % 36]


def problem(gstin: str) -> str:
    """What is wrong with a normalised GSTIN, as a sentence for the buyer; empty if nothing is."""
    if len(gstin) != 15:
        return f"A GSTIN has 15 characters, this has {len(gstin)}."
    if not FORMATS.fullmatch(gstin):
        return "This is not a GSTIN of a buyer. It looks like 29ABCDE1234F1Z5."
    if gstin[:2] not in STATE_NAMES and not is_of_united_nations(gstin):
        return f"A GSTIN begins with the code of a state; {gstin[:2]} is none."
    if check_digit(gstin[:14]) != gstin[14]:
        return "One character of this GSTIN is wrong. Please compare it with the certificate."
    return ""


def is_of_united_nations(gstin: str) -> bool:
    """Their numbers begin with digits that are no code of a state."""
    return gstin[12:14] in {"UN", "ON"}


def state_of(gstin: str) -> str:
    """The code of the state in which a valid GSTIN is registered; empty for the United Nations."""
    return "" if is_of_united_nations(gstin) else gstin[:2]
