"""Money is integer paise everywhere; rupees exist only in what people read."""

import re
from decimal import Decimal

PAISE_PER_RUPEE = 100

# Razorpay refuses an order below one rupee (INR minimum 100, razorpay.com/docs/api/orders/create).
SMALLEST_CHARGE_PAISE = 100

CURRENCY = "INR"
ISO_CODE = re.compile(r"[A-Z]{3}")


# ISO 4217: the decimals of currencies that do not have two.
DECIMALS = {
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
         "VUV", "XAF", "XOF", "XPF"),
        0,
    ),
}  # fmt: skip


def rupees(paise: int) -> float:
    """Rupees as the JSON number of the API: 2248896 -> 22488.96."""
    return paise / PAISE_PER_RUPEE


def major_units(minor_units: int, currency: str) -> Decimal:
    """1200 US cents -> 12.00; 1200 yen -> 1200, because yen have no minor unit."""
    return Decimal(minor_units).scaleb(-DECIMALS.get(currency, 2))


def format_inr(paise: int) -> str:
    """Rupees with Indian digit grouping: 12248896 -> "₹1,22,488.96"."""
    sign = "-" if paise < 0 else ""
    whole, cents = divmod(abs(paise), PAISE_PER_RUPEE)
    digits = str(whole)
    head, tail = digits[:-3], digits[-3:]
    pairs: list[str] = []
    while head:
        head, pair = head[:-2], head[-2:]
        pairs.insert(0, pair)
    return f"{sign}₹{','.join([*pairs, tail])}.{cents:02d}"


def format_amount(minor_units: int, currency: str) -> str:
    """
    An amount in its own currency: "₹12.00", "USD 12.00", "JPY 1200".

    A reported currency that is no ISO code gives "1200 minor units of X".
    """
    if currency == CURRENCY:
        return format_inr(minor_units)
    if not ISO_CODE.fullmatch(currency):
        return f"{minor_units} minor units of {currency}"
    return f"{currency} {major_units(minor_units, currency)}"
