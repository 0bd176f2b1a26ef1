"""Money is integer paise everywhere; rupees exist only at the edge, for people."""

PAISE_PER_RUPEE = 100

# Razorpay refuses an order below one rupee (INR minimum 100, razorpay.com/docs/api/orders/create).
SMALLEST_CHARGE_PAISE = 100

CURRENCY = "INR"


def rupees(paise: int) -> float:
    """Rupees as the JSON number of the API: 2248896 -> 22488.96."""
    return paise / PAISE_PER_RUPEE


def format_inr(paise: int) -> str:
    """Rupees as people in India write them: 12248896 -> "₹1,22,488.96"."""
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
    """For operations. Of other currencies than ours we do not know how small their units are."""
    if currency == CURRENCY:
        return format_inr(minor_units)
    return f"{minor_units} minor units of {currency}"
