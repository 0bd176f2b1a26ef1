"""States, places of supply, GSTINs."""

import pytest

from shop.pricing import gstin
from shop.pricing.supply import (
    ISO_CODES,
    OTHER_NAMES,
    STATE_NAMES,
    pin_contradicts,
    place_of_supply,
    state_code,
    tax_kinds,
)


@pytest.mark.parametrize(("code", "name"), STATE_NAMES.items())
def test_a_state_is_found_by_its_name_and_its_code(code, name):
    assert state_code(name) == state_code(name.upper()) == state_code(f" {name} ") == code
    assert state_code(code) == state_code(code.lstrip("0")) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Orissa", "21"), ("Pondicherry", "34"), ("Uttaranchal", "05"), ("NCT of Delhi", "07"),
        ("New Delhi", "07"), ("J&K", "01"), ("J & K", "01"), ("Jammu & Kashmir", "01"),
        ("Chattisgarh", "22"), ("Chhatisgarh", "22"), ("Tamilnadu", "33"), ("Tamil-Nadu", "33"),
        ("Andaman & Nicobar Islands", "35"), ("IN-KA", "29"), ("in-od", "21"), ("IN-OR", "21"),
        ("IN-TS", "36"), ("IN-TG", "36"), ("ka", "29"), ("Dadra & Nagar Haveli", "26"),
    ],
)  # fmt: skip
def test_a_state_is_found_by_other_spellings(text, code):
    assert state_code(text) == code


@pytest.mark.parametrize("text", ["", " ", "Atlantis", "25", "28", "00", "99", "IN-", "IN-XX", "१"])
def test_what_is_no_state_is_none(text):
    assert state_code(text) is None


def test_every_alias_names_a_state():
    assert set(ISO_CODES.values()) | set(OTHER_NAMES.values()) <= set(STATE_NAMES)


def test_a_buyer_without_gstin_is_taxed_where_the_goods_go():
    assert place_of_supply(seller_state="29", delivery_state="27") == "27"
    assert place_of_supply(seller_state="29", delivery_state=None) == "29"


def test_a_registered_buyer_is_taxed_where_the_business_is():
    supply = {"seller_state": "29", "delivery_state": "27", "buyer_state": "33"}
    assert place_of_supply(**supply) == "33"
    assert place_of_supply(**supply, at_delivery=True) == "27"


@pytest.mark.parametrize(
    ("seller", "place", "kinds"),
    [
        ("29", "29", ("cgst", "sgst")),
        ("29", "27", ("igst",)),
        ("04", "04", ("cgst", "utgst")),
        ("07", "07", ("cgst", "sgst")),
        ("34", "34", ("cgst", "sgst")),
        ("01", "01", ("cgst", "sgst")),
        ("35", "31", ("igst",)),
    ],
)
def test_the_kinds_of_tax_of_a_supply(seller, place, kinds):
    assert tax_kinds(seller_state=seller, place=place) == kinds


@pytest.mark.parametrize(
    ("pin", "state", "contradicts"),
    [
        ("560001", "29", False),
        ("560001", "27", True),
        ("248001", "05", False),
        ("500001", "36", False),
        ("500001", "37", False),
        ("900056", "29", False),
        ("110001", "97", False),
    ],
)
def test_a_pin_is_compared_with_the_state(pin, state, contradicts):
    assert pin_contradicts(pin, state) is contradicts


@pytest.mark.parametrize(
    "number",
    [
        "27AAPFU0939F1ZV", "29AAGCB7383J1Z4", "24AAQCA8719H1ZC", "05AAACG2115R1ZN",
        "29AABCR1718E1ZL", "24AANFA2641L1ZF", "37AADCS0472N1Z1", "09AAACH7409R1ZZ",
    ],
)  # fmt: skip
def test_a_valid_gstin(number):
    assert gstin.problem(number) == ""
    assert gstin.state_of(number) == number[:2]
    assert gstin.normalised(f" {number.lower()[:7]} {number[7:]}\n") == number


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("24AANFA2641L1ZG", "F"),
        ("33AAACI1681G1ZM", "W"),
        ("05ABDCE1234F1Z2", "7"),
        ("29AWGPV7107B1Z1", "F"),
    ],
)
def test_a_wrong_check_digit_is_told(number, right):
    assert "One character" in gstin.problem(number)
    assert gstin.check_digit(number[:14]) == right


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("", "15 characters, this has 0"),
        ("29AAGCB7383J1Z", "this has 14"),
        ("29AAGCB7383J1Z45", "this has 16"),
        ("29AABCF8078M1C8", "not a GSTIN of a buyer"),  # collects tax at source
        ("2९AAGCB7383J1Z4", "not a GSTIN of a buyer"),
        ("28AAGCB7383J1Z4", "28 is none"),
        ("aaaaaaaaaaaaaaa", "not a GSTIN of a buyer"),
    ],
)
def test_what_is_no_gstin_of_a_buyer(number, words):
    assert words in gstin.problem(number)
