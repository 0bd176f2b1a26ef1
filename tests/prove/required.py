"""The situations that a run must reach. A run that misses one is red: it proves too little."""

from __future__ import annotations

from collections.abc import Mapping

# How often the long form must reach each situation of buyers, staff and faults. A buyer who came
# too late, or whose checkout had expired, does not count.
LONG_REACHED = {
    "a repeated POST finds the checkout of the last unit": 30,
    "a second tab finds the checkout of the last unit": 10,
    "a changed address keeps the last unit": 5,
    "a guest who holds the last unit signs in": 10,
    "late money while the cart's second checkout is paid": 10,
    "late money while the cart's second checkout is open": 10,
    "a cancel after a verified return is refused": 30,
    "a POST after a verified return is refused": 10,
    "a POST beside a review is refused": 4,
    "staff accept the money of a review": 10,
    "staff refund it": 10,
    "an order whose polls all fail": 3,
    "retention meets guests who have signed in": 3,
}
# Staff decide so soon that few POSTs come before: 8 of 228 reviews in a long run.
RARE = {"a POST beside a review is refused"}
SHORT_REACHED = dict.fromkeys(LONG_REACHED.keys() - RARE, 1)

# The long form needs a crash at every boundary; these are reached within a minute.
SHORT_BOUNDARIES = (
    "web:accepted",
    "web:received",
    "web:notifying",
    "validate_cart:committed",
    "create_order:processed",
    "create_order:committed",
    "create_razorpay_order:called",
    "create_razorpay_order:recorded",
    "check_payments:recorded",
    "capture:called",
    "send_refunds:called",
    "expire:processed",
)


def missing(kind: str, least: Mapping[str, int], seen: Mapping[str, int]) -> list[str]:
    """A sentence for each name that was seen less often than `least` requires."""
    return [
        f"{kind} {name}: {seen.get(name, 0)} times, at least {count} are needed".strip()
        for name, count in least.items()
        if seen.get(name, 0) < count
    ]
