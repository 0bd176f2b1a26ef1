"""Integer arithmetic on paise: rounding half up, and spreading an amount without losing a paisa."""

from __future__ import annotations

from collections.abc import Sequence


def half_up(numerator: int, denominator: int) -> int:
    """
    `numerator / denominator`, rounded to a whole number; a half goes up (CGST Act, section 170).

    For numerators of at least 0 and denominators above 0. Python's `round` rounds a half to even.
    """
    return (2 * numerator + denominator) // (2 * denominator)


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """
    Parts of `amount` in proportion to `weights`, by largest remainder; they add up to `amount`.

    Of equal remainders the first gets the paisa. No part is larger than its weight, as long as
    `amount` is not larger than their sum.

    :raises ValueError: all weights are 0 and the amount is not.
    """
    total = sum(weights)
    if not total:
        if amount:
            raise ValueError("nothing to spread over: all weights are 0")
        return [0] * len(weights)
    parts = [amount * weight // total for weight in weights]
    remainders = [amount * weight % total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: -remainders[place])
    for place in by_remainder[: amount - sum(parts)]:
        parts[place] += 1
    return parts


def share_of_units(amount: int, *, units: int, already: int, of_units: int) -> int:
    """
    What `units` more pieces get of an amount for `of_units`, of which `already` have their share.

    Cumulative: the shares of all pieces add up to the amount, in whatever groups they come.
    """
    if not 0 <= already <= already + units <= of_units:
        raise ValueError(f"{already} and {units} more of {of_units} units")
    return half_up(amount * (already + units), of_units) - half_up(amount * already, of_units)
