"""
Where a sale is taxed: the states of India, their codes, and the place of supply.

Codes are the two digits with which a GSTIN of the state begins. Goods that end in the seller's own
state pay CGST and SGST (in a Union Territory without a legislature: UTGST), others pay IGST.
"""

from __future__ import annotations

import re
from enum import StrEnum

STATE_NAMES = {
    "01": "Jammu and Kashmir",
    "02": "Himachal Pradesh",
    "03": "Punjab",
    "04": "Chandigarh",
    "05": "Uttarakhand",
    "06": "Haryana",
    "07": "Delhi",
    "08": "Rajasthan",
    "09": "Uttar Pradesh",
    "10": "Bihar",
    "11": "Sikkim",
    "12": "Arunachal Pradesh",
    "13": "Nagaland",
    "14": "Manipur",
    "15": "Mizoram",
    "16": "Tripura",
    "17": "Meghalaya",
    "18": "Assam",
    "19": "West Bengal",
    "20": "Jharkhand",
    "21": "Odisha",
    "22": "Chhattisgarh",
    "23": "Madhya Pradesh",
    "24": "Gujarat",
    "26": "Dadra and Nagar Haveli and Daman and Diu",
    "27": "Maharashtra",
    "29": "Karnataka",
    "30": "Goa",
    "31": "Lakshadweep",
    "32": "Kerala",
    "33": "Tamil Nadu",
    "34": "Puducherry",
    "35": "Andaman and Nicobar Islands",
    "36": "Telangana",
    "37": "Andhra Pradesh",
    "38": "Ladakh",
    "97": "Other Territory",
}
# Territories whose half of the tax is called UTGST.
WITHOUT_LEGISLATURE = frozenset({"04", "26", "31", "35", "38", "97"})

# ISO 3166-2:IN, with the codes of before 2023.
ISO_CODES = {
    "AN": "35", "AP": "37", "AR": "12", "AS": "18", "BR": "10", "CG": "22", "CH": "04", "CT": "22",
    "DH": "26", "DD": "26", "DN": "26", "DL": "07", "GA": "30", "GJ": "24", "HP": "02", "HR": "06",
    "JH": "20", "JK": "01", "KA": "29", "KL": "32", "LA": "38", "LD": "31", "MH": "27", "ML": "17",
    "MN": "14", "MP": "23", "MZ": "15", "NL": "13", "OD": "21", "OR": "21", "PB": "03", "PY": "34",
    "RJ": "08", "SK": "11", "TG": "36", "TN": "33", "TR": "16", "TS": "36", "UK": "05", "UP": "09",
    "UT": "05", "WB": "19",
}  # fmt: skip
OTHER_NAMES = {
    "orissa": "21",
    "pondicherry": "34",
    "uttaranchal": "05",
    "nct of delhi": "07",
    "new delhi": "07",
    "national capital territory of delhi": "07",
    "j and k": "01",
    "chattisgarh": "22",
    "chhatisgarh": "22",
    "chattishgarh": "22",
    "tamilnadu": "33",
    "daman and diu": "26",
    "dadra and nagar haveli": "26",
    "dadra nagar haveli and daman diu": "26",
    "andaman and nicobar": "35",
    "andaman nicobar": "35",
    "telengana": "36",
    "maharastra": "27",
}
_BY_NAME = {name.lower(): code for code, name in STATE_NAMES.items()} | OTHER_NAMES

# The first three digits of PINs, as the master codes of e-invoices have them. They overlap and have
# enclaves: good for a warning, not for deriving the state.
PIN_PREFIXES: dict[str, tuple[tuple[int, int], ...]] = {
    "01": ((180, 194),), "02": ((171, 177),), "03": ((140, 160),), "04": ((160, 160), (140, 140)),
    "05": ((244, 263),), "06": ((121, 136),), "07": ((110, 110),), "08": ((301, 345),),
    "09": ((201, 285),), "10": ((800, 855),), "11": ((737, 737),), "12": ((790, 792),),
    "13": ((797, 798),), "14": ((795, 795),), "15": ((796, 796),), "16": ((799, 799),),
    "17": ((793, 794),), "18": ((781, 788),), "19": ((700, 743),), "20": ((813, 835),),
    "21": ((751, 770),), "22": ((490, 497),), "23": ((450, 488),), "24": ((360, 396),),
    "26": ((362, 362), (396, 396)), "27": ((400, 445),), "29": ((560, 591),), "30": ((403, 403),),
    "31": ((682, 682),), "32": ((670, 695),), "33": ((600, 643),),
    "34": ((533, 533), (605, 605), (607, 607), (609, 609), (673, 673)), "35": ((744, 744),),
    "36": ((500, 535),), "37": ((500, 535),), "38": ((180, 194),),
}  # fmt: skip


class TaxKind(StrEnum):
    CGST = "cgst"
    SGST = "sgst"
    UTGST = "utgst"
    IGST = "igst"


def state_code(text: str) -> str | None:
    """
    The code of a state that is given by name, alias, ISO code (`IN-KA`) or its two digits.

    None if it is none. Case, blanks, dots and `&` do not matter.
    """
    plain = re.sub(r"[^a-z0-9]+", " ", text.lower().replace("&", " and ")).strip()
    if plain.isdigit():
        code = plain.zfill(2)
        return code if code in STATE_NAMES else None
    return _BY_NAME.get(plain) or ISO_CODES.get(plain.removeprefix("in ").upper())


def place_of_supply(
    *,
    seller_state: str,
    delivery_state: str | None,
    buyer_state: str = "",
    at_delivery: bool = False,
) -> str:
    """
    The code of the state in which a delivery is taxed (IGST Act, section 10).

    A buyer without a GSTIN: where the goods go (10(1)(ca)); the seller's state if no address is
    known. A registered buyer: `buyer_state`, the state of the registration (10(1)(b), "bill to,
    ship to"); `at_delivery` chooses where the goods go for these, too.
    """
    if buyer_state and not at_delivery:
        return buyer_state
    return delivery_state or seller_state


def tax_kinds(*, seller_state: str, place: str) -> tuple[TaxKind, ...]:
    """The taxes of a supply: two equal halves within a state, one tax between states."""
    if place != seller_state:
        return (TaxKind.IGST,)
    return (TaxKind.CGST, TaxKind.UTGST if place in WITHOUT_LEGISLATURE else TaxKind.SGST)


def pin_contradicts(postal_code: str, state: str) -> bool:
    """
    Whether a PIN is unusual for a state. A reason to ask the buyer, not to refuse.

    False for PINs of the Army Post (9…) and of states without a list.
    """
    ranges = PIN_PREFIXES.get(state)
    if not ranges or postal_code.startswith("9") or not postal_code[:3].isdigit():
        return False
    return not any(first <= int(postal_code[:3]) <= last for first, last in ranges)
