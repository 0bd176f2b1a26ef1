"""
Stock: units on hand, and units held for orders that are not paid yet.

`held` of a variant is the sum of the lines of all orders whose `stock_state` is held. A sale
subtracts from both columns, a release from `held` only. A constraint of the table forbids holding
more than is on hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from django.db import models
from django.db.models import F, Q

from shop.catalogue import Variant
from shop.db import fast
from shop.orders import Order, OrderLine, StockState


class StockLevel(models.Model):
    variant = models.OneToOneField(
        Variant, on_delete=models.PROTECT, primary_key=True, related_name="stock"
    )
    on_hand = models.PositiveIntegerField()
    held = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(on_hand__gte=F("held")), name="stock_held_at_most_on_hand"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.variant_id}: {self.free} free"

    @property
    def free(self) -> int:
        return self.on_hand - self.held


class Offer(NamedTuple):
    """The price of a variant on sale, and its free units at the time of reading."""

    price_paise: int
    free: int


# On the fast path, like all statements of this module: each checkout runs them.
_OFFERS = """
    SELECT variant.id, variant.price_paise, coalesce(level.on_hand - level.held, 0)
    FROM shop_variant variant JOIN shop_product product ON product.id = variant.product_id
    LEFT JOIN shop_stocklevel level ON level.variant_id = variant.id
    WHERE variant.id = ANY(%s) AND variant.is_active AND product.is_active
"""


def offers(variant_ids: Iterable[int]) -> dict[int, Offer]:
    """The variants on sale among these. Read without a lock, so free units can be gone soon."""
    found = fast.rows(_OFFERS, [fast.array(set(variant_ids))])
    return {variant_id: Offer(*offer) for variant_id, *offer in found}


def lock(variant_ids: Iterable[int]) -> Counter[int]:
    """Free units of each variant, after `lock_levels`. 0 for a variant without a row."""
    levels = lock_levels(variant_ids)
    return Counter({variant_id: level.free for variant_id, level in levels.items()})


def lock_levels(variant_ids: Iterable[int]) -> dict[int, StockLevel]:
    """
    The rows of these variants, locked until the transaction ends.

    Rows are locked in variant order, so that two batches cannot deadlock, and with NO KEY UPDATE,
    which does not block the foreign-key checks of order lines that other transactions insert.
    """
    tail = "WHERE variant_id = ANY(%s) ORDER BY variant_id FOR NO KEY UPDATE"
    levels = fast.select(StockLevel, tail, [fast.array(set(variant_ids))])
    return {level.variant_id: level for level in levels}


def held_by(order_ids: Collection[int]) -> dict[int, Counter[int]]:
    """Units of each variant that each of these orders holds: {order id: {variant id: units}}."""
    held: dict[int, Counter[int]] = {order_id: Counter() for order_id in order_ids}
    if held:
        tail = (
            "WHERE order_id IN (SELECT id FROM shop_order WHERE id = ANY(%s) AND stock_state = %s)"
        )
        for line in fast.select(OrderLine, tail, [fast.array(held), StockState.HELD]):
            held[line.order_id][line.variant_id] += line.units
    return held


def total(counters: Iterable[Counter[int]]) -> Counter[int]:
    """The sum of several counts: {variant id: units}."""
    return sum(counters, Counter())


def hold(units: Mapping[int, int]) -> None:
    """Hold `units` ({variant id: units}). Call `lock` first; hold at most what is free."""
    _add(held=units, on_hand={})


def sell(order_ids: Collection[int]) -> set[int]:
    """
    Mark the held units of these orders as sold. Returns the ids of the orders that changed.

    Skips an order whose units are not held, so a repeat changes nothing.
    """
    sold, units = _leave_held(order_ids, StockState.SOLD)
    _add(held=units, on_hand=units, sign=-1)
    return sold


def release(order_ids: Collection[int]) -> set[int]:
    """
    Make the held units of these orders free again. Returns the ids of the orders that changed.

    Skips an order whose units are not held, so a repeat changes nothing.
    """
    released, units = _leave_held(order_ids, StockState.RELEASED)
    _add(held=units, on_hand={}, sign=-1)
    return released


def hold_again(order_id: int) -> bool:
    """
    Hold the units of a released order again: all of them, or none. True if they are held now.

    For a payment that arrives after its checkout has ended.
    """
    wanted = units_of([order_id])
    free = lock(wanted)
    released = Order.objects.filter(pk=order_id, stock_state=StockState.RELEASED)
    if not released.exists():
        return Order.objects.filter(pk=order_id, stock_state=StockState.HELD).exists()
    if any(free[variant_id] < units for variant_id, units in wanted.items()):
        return False
    if released.update(stock_state=StockState.HELD):
        hold(wanted)
    return True


def restock(variant_id: int, *, units: int) -> bool:
    """
    Add `units` to those on hand; a negative number removes some. False, and nothing changes, if
    fewer would be left than are held. Concurrent sales are kept: the change is relative.
    """
    enough = StockLevel.objects.filter(pk=variant_id, on_hand__gte=F("held") - units)
    return bool(enough.update(on_hand=F("on_hand") + units))


def why_kept(levels: Iterable[StockLevel]) -> list[str]:
    """A sentence for each of these that cannot be deleted: units are held or were ordered."""
    kept = []
    for level in levels:
        ordered = OrderLine.objects.filter(variant_id=level.variant_id).aggregate(
            units=models.Sum("units")
        )["units"]
        if level.held or ordered:
            kept.append(
                f"{level.variant.sku}: {level.held} units are held and {ordered or 0} were ordered,"
                " so its stock is kept. To end the sale, set the units on hand to what is held, or"
                " take the variant off sale."
            )
    return kept


_LEAVE_HELD = """
    UPDATE shop_order SET stock_state = %s WHERE id = ANY(%s) AND stock_state = %s RETURNING id
"""


def _leave_held(order_ids: Collection[int], new: StockState) -> tuple[set[int], Counter[int]]:
    """Set `stock_state` of the held orders among these. Returns their ids and their units."""
    if not order_ids:
        return set(), Counter()
    found = fast.rows(_LEAVE_HELD, [new, fast.array(order_ids), StockState.HELD])
    changed = {order_id for (order_id,) in found}
    units = units_of(changed)
    lock(units)
    return changed, units


def units_of(order_ids: Collection[int]) -> Counter[int]:
    """Units of each variant on the lines of these orders, whether held or not."""
    total: Counter[int] = Counter()
    for line in fast.select(OrderLine, "WHERE order_id = ANY(%s)", [fast.array(order_ids)]):
        total[line.variant_id] += line.units
    return total


_ADD = """
    UPDATE shop_stocklevel AS level
    SET held = level.held + delta.held, on_hand = level.on_hand + delta.on_hand
    FROM json_to_recordset(%s::json) AS delta (variant_id bigint, held int, on_hand int)
    WHERE level.variant_id = delta.variant_id
"""


def _add(*, held: Mapping[int, int], on_hand: Mapping[int, int], sign: int = 1) -> None:
    """Add `sign` times these units, in one statement. The rows must be locked."""
    if not held:
        return
    records = [
        {
            "variant_id": variant_id,
            "held": sign * units,
            "on_hand": sign * on_hand.get(variant_id, 0),
        }
        for variant_id, units in held.items()
    ]
    fast.execute(_ADD, [fast.as_json(records)])
