"""
What a buyer pays: goods, discount, delivery, fee and taxes in one frozen composition.

Pure. `compute` is the only place in the shop where money is added up; what it returns is stored
with the checkout, copied to the order, charged, and printed on the invoice. The order of the steps
is the law's: discount, then rate, then tax, line by line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from shop.pricing.rounding import half_up, spread
from shop.pricing.supply import TaxKind, tax_kinds
from shop.pricing.tax import (
    Rate,
    Split,
    rate_of,
    rates_on,
    split_exclusive,
    split_inclusive,
)

UNTAXED = 0


class ChargeTax(StrEnum):
    """Which rate delivery and fees take where goods of several rates are sold together."""

    PROPORTIONAL = "proportional"  # each line's rate, on a share by value
    HIGHEST = "highest"  # the highest rate of the goods, on all of it
    PRINCIPAL = "principal"  # the rate of the line with the highest value, on all of it


@dataclass(frozen=True, slots=True)
class Goods:
    """A line to be priced: `units` pieces for `gross_paise` together."""

    units: int
    gross_paise: int
    tax_class: str
    hsn: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """
    By which rules a composition is priced, apart from its goods.

    `seller_state`, `place`: codes of states, see `supply`. `rates`: of all classes of the goods.
    `is_taxed`: False for a seller who charges no GST (composition, unregistered). `is_inclusive`:
    prices include tax. Delivery and fees always include it.
    """

    seller_state: str
    place: str
    day: date
    rates: Sequence[Rate]
    is_taxed: bool = True
    is_inclusive: bool = True
    charge_tax: ChargeTax = ChargeTax.PROPORTIONAL
    rounds_to_rupee: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """
    A priced line. `goods`: its own value and taxes; `charges`: those of its share of delivery and
    fee, which takes the rate of the line.
    """

    units: int
    hsn: str
    gross_paise: int
    discount_paise: int
    basis_points: int
    goods: Split
    charges_paise: int
    charges: Split


@dataclass(frozen=True, slots=True)
class Totals:
    """
    A frozen composition. Always: goods − discount + added tax + shipping + fee + round off =
    payable; the taxes of the lines add up to `tax_paise`, and with their taxable values and the
    round off to `payable_paise`.

    `added_tax_paise`: tax that is charged on top of prices; 0 where prices include it.
    """

    place: str
    kinds: tuple[TaxKind, ...]
    lines: tuple[Line, ...]
    goods_paise: int
    discount_paise: int
    shipping_paise: int
    fee_paise: int
    added_tax_paise: int
    round_off_paise: int
    tax_paise: int
    payable_paise: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Totals:
        lines = tuple(
            Line(**{**line, "goods": Split(**line["goods"]), "charges": Split(**line["charges"])})
            for line in stored["lines"]
        )
        kinds = tuple(TaxKind(kind) for kind in stored["kinds"])
        return cls(**{**stored, "lines": lines, "kinds": kinds})

    @property
    def digest(self) -> str:
        """Equal for equal compositions, and only for these."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def compute(
    goods: Sequence[Goods],
    terms: Terms,
    *,
    discount_paise: int = 0,
    shipping_paise: int = 0,
    fee_paise: int = 0,
) -> Totals:
    """
    Price `goods` with an order-level discount, delivery and a fee.

    The discount is spread over the lines by their gross, delivery and fee by what is left of the
    lines, by largest remainder each. Tax is rounded line by line.

    :raises NoRate: a class of the goods has no rate on that day.
    :raises ValueError: no goods, a negative amount, or a discount above the price of the goods.
    """
    gross = [line.gross_paise for line in goods]
    charges_paise = shipping_paise + fee_paise
    if not goods or min(*gross, discount_paise, shipping_paise, fee_paise) < 0:
        raise ValueError("no goods, or a negative amount")
    if discount_paise > sum(gross):
        raise ValueError("the discount is higher than the price of the goods")
    discounts = spread(discount_paise, gross)
    nets = [price - discount for price, discount in zip(gross, discounts, strict=True)]
    rates = [_basis_points(line, net, terms) for line, net in zip(goods, nets, strict=True)]
    shares = _charges(charges_paise, nets, gross, rates, terms)
    kinds = tax_kinds(seller_state=terms.seller_state, place=terms.place)
    is_within_state = TaxKind.IGST not in kinds
    split_goods = split_inclusive if terms.is_inclusive else split_exclusive
    lines = tuple(
        Line(
            units=line.units,
            hsn=line.hsn,
            gross_paise=line.gross_paise,
            discount_paise=discount,
            basis_points=rate,
            goods=split_goods(net, rate, within_state=is_within_state),
            charges_paise=share,
            charges=split_inclusive(share, rate, within_state=is_within_state),
        )
        for line, discount, net, rate, share in zip(
            goods, discounts, nets, rates, shares, strict=True
        )
    )
    added_tax_paise = 0 if terms.is_inclusive else sum(line.goods.tax_paise for line in lines)
    exact_paise = sum(nets) + added_tax_paise + charges_paise
    round_off_paise = 100 * half_up(exact_paise, 100) - exact_paise if terms.rounds_to_rupee else 0
    return Totals(
        place=terms.place,
        kinds=kinds if terms.is_taxed else (),
        lines=lines,
        goods_paise=sum(gross),
        discount_paise=discount_paise,
        shipping_paise=shipping_paise,
        fee_paise=fee_paise,
        added_tax_paise=added_tax_paise,
        round_off_paise=round_off_paise,
        tax_paise=sum(line.goods.tax_paise + line.charges.tax_paise for line in lines),
        payable_paise=exact_paise + round_off_paise,
    )


def _basis_points(line: Goods, net_paise: int, terms: Terms) -> int:
    if not terms.is_taxed:
        return UNTAXED
    rates = rates_on(terms.day, terms.rates, tax_class=line.tax_class)
    return rate_of(
        rates, net_paise=net_paise, units=line.units, is_inclusive=terms.is_inclusive
    ).basis_points


def _charges(
    charges_paise: int,
    nets: Sequence[int],
    gross: Sequence[int],
    rates: Sequence[int],
    terms: Terms,
) -> list[int]:
    """The share of each line in delivery and fee. Where nothing is left of the goods, by gross."""
    weights = nets if any(nets) else gross
    if terms.charge_tax is ChargeTax.PROPORTIONAL and any(weights):
        return spread(charges_paise, weights)
    by_value = range(len(weights))
    if terms.charge_tax is ChargeTax.HIGHEST:
        bearer = max(by_value, key=lambda place: (rates[place], weights[place], -place))
    else:
        bearer = max(by_value, key=lambda place: (weights[place], -place))
    return [charges_paise if place == bearer else 0 for place in by_value]
