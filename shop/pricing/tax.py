"""
GST on one amount: which rate, and how the amount is divided into taxable value and taxes.

All amounts are paise, all rates basis points (18 % is 1800). Tax is rounded half up to the paisa,
for each line by itself. Within a state the half is rounded and doubled, so that CGST always equals
SGST; the buyer's total of tax-inclusive prices therefore never depends on the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from shop.money import format_inr
from shop.pricing.rounding import half_up

BASIS = 10_000  # basis points of the whole


class NoRate(Exception):
    """The table of rates has none for these goods on this day."""

    def __init__(self, tax_class: str, day: date) -> None:
        super().__init__(f"no tax rate for {tax_class!r} on {day}")
        self.tax_class = tax_class


@dataclass(frozen=True, slots=True)
class Rate:
    """
    A rate of a tax class, from its first day until the day before `until`.

    `up_to_paise`: it holds for pieces of at most this taxable value; None: for dearer ones too.
    """

    tax_class: str
    basis_points: int
    since: date
    until: date | None = None
    up_to_paise: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """
    An amount divided. `igst_paise` between states, twice `half_paise` within one; the other is 0.
    """

    taxable_paise: int
    igst_paise: int = 0
    half_paise: int = 0

    @property
    def tax_paise(self) -> int:
        return self.igst_paise + 2 * self.half_paise

    @property
    def total_paise(self) -> int:
        return self.taxable_paise + self.tax_paise

    def __add__(self, other: Split) -> Split:
        return Split(
            self.taxable_paise + other.taxable_paise,
            self.igst_paise + other.igst_paise,
            self.half_paise + other.half_paise,
        )


def split_inclusive(gross_paise: int, basis_points: int, *, within_state: bool) -> Split:
    """Take the tax out of an amount that includes it."""
    if within_state:
        half = half_up(gross_paise * basis_points, 2 * (BASIS + basis_points))
        return Split(gross_paise - 2 * half, half_paise=half)
    igst = half_up(gross_paise * basis_points, BASIS + basis_points)
    return Split(gross_paise - igst, igst_paise=igst)


def split_exclusive(taxable_paise: int, basis_points: int, *, within_state: bool) -> Split:
    """Put the tax on top. The total may differ by a paisa between states."""
    if within_state:
        return Split(taxable_paise, half_paise=half_up(taxable_paise * basis_points, 2 * BASIS))
    return Split(taxable_paise, igst_paise=half_up(taxable_paise * basis_points, BASIS))


def rates_on(day: date, rates: Iterable[Rate], *, tax_class: str) -> list[Rate]:
    """
    The rates of a class on a day, that of the cheapest pieces first.

    :raises NoRate: there is none, or none for the dearest pieces.
    """
    found = [
        rate
        for rate in rates
        if rate.tax_class == tax_class and rate.since <= day and (rate.until or date.max) > day
    ]
    found.sort(key=lambda rate: (rate.up_to_paise is None, rate.up_to_paise or 0))
    if not found or found[-1].up_to_paise is not None:
        raise NoRate(tax_class, day)
    return found


def rate_of(rates: Sequence[Rate], *, net_paise: int, units: int, is_inclusive: bool) -> Rate:
    """
    The rate of `units` pieces that cost `net_paise` after discount. `rates`: see `rates_on`.

    A limit is on the taxable value of one piece (Notification 9/2025-CT(Rate)). Where prices
    include tax, the value depends on the rate: the lowest rate that agrees with its own limit is
    taken. Where none does (`in_band_without_rate`), the next higher one is.
    """
    for rate in rates:
        if rate.up_to_paise is None:
            return rate
        divisor = BASIS + rate.basis_points if is_inclusive else BASIS
        if net_paise * BASIS <= rate.up_to_paise * units * divisor:
            return rate
    raise ValueError("the last rate has a limit")


def in_band_without_rate(rates: Sequence[Rate], *, price_paise: int) -> bool:
    """
    Whether no rate of a tax-inclusive price agrees with its own limit.

    For apparel: from ₹2,625.01 to ₹2,950.00, 5 % makes the value too high for 5 %, and 18 % makes
    it too low for 18 %. What is lawful there is a question for a tax adviser.
    """
    chosen = rate_of(rates, net_paise=price_paise, units=1, is_inclusive=True)
    below = [rate.up_to_paise for rate in rates[: rates.index(chosen)] if rate.up_to_paise]
    return any(price_paise * BASIS <= limit * (BASIS + chosen.basis_points) for limit in below)


def warning_of(rates: Sequence[Rate], *, price_paise: int) -> str:
    """For the admin: a sentence about a price in the band without a rate; else empty."""
    if not in_band_without_rate(rates, price_paise=price_paise):
        return ""
    chosen = rate_of(rates, net_paise=price_paise, units=1, is_inclusive=True)
    return (
        f"No tax rate agrees with {format_inr(price_paise)} including tax: the value before tax"
        f" decides about the rate, and the rate about the value. {chosen.basis_points / 100:g} % is"
        " charged. Please ask your tax adviser, or change the price."
    )
