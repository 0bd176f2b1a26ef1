"""
A buyer's cart: one per user, made on first use, never named by the buyer.

`version` grows with every change of the lines, and when a price or a problem of a line changes by
itself. It serves as the ETag, and a checkout that names a version is about exactly these lines.

Every change locks the cart's row, so concurrent changes are applied one after the other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models, transaction
from django.db.models import F, Q

from shop import accounts
from shop.accounts import NoSuchBuyer
from shop.catalogue import Variant, title
from shop.db import fast
from shop.money import CURRENCY

MAX_LINE_UNITS = 100  # a larger quantity is a wholesale order or a typing error
MAX_LINES = 100
EMPTY_CHECKSUM = zlib.crc32(b"[]")  # `Contents.checksum` of an empty cart
TOUCH_EVERY = timedelta(minutes=1)  # reading a cart writes `updated_at` at most this often


class CartError(Exception):
    """A change that the cart refuses. `message` is for the buyer."""

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class Cart(models.Model):
    owner = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    version = models.PositiveIntegerField(default=1)
    shown = models.BigIntegerField()  # `Contents.checksum` of this version
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        # BRIN, so that the frequent updates of this column stay heap-only (HOT).
        indexes = [BrinIndex(fields=["updated_at"], name="cart_updated_at", pages_per_range=16)]

    def __str__(self) -> str:
        return f"cart {self.pk}"


class CartItem(models.Model):
    cart = models.ForeignKey(
        Cart,
        on_delete=models.CASCADE,
        related_name="items",
        db_index=False,  # `cart_item_one_per_variant` starts with this column
    )
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cart", "variant"], name="cart_item_one_per_variant"),
            models.CheckConstraint(
                condition=Q(quantity__range=(1, MAX_LINE_UNITS)),
                name="cart_item_quantity_within_limit",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.variant_id}"


@dataclass(frozen=True, slots=True)
class Line:
    id: int
    product_id: int
    variant_id: int
    sku: str
    product_name: str
    variant_name: str
    quantity: int
    unit_price_paise: int
    is_sold: bool
    available: int  # free units, and units held for this buyer's own unpaid orders

    @property
    def name(self) -> str:
        return title(self.product_name, self.variant_name)

    @property
    def line_total_paise(self) -> int:
        return self.quantity * self.unit_price_paise

    @property
    def problem(self) -> str | None:
        """Why this line cannot be bought as it is, for the buyer; None if it can."""
        if not self.is_sold:
            return "No longer on sale"
        if self.available <= 0:
            return "Out of stock"
        if self.available < self.quantity:
            return f"Only {self.available} left"
        return None


@dataclass(frozen=True, slots=True)
class Contents:
    """A cart that was read by one statement, so version and lines belong together."""

    cart_id: int
    owner_id: int
    owner_email: str
    version: int
    shown: int
    updated_at: datetime
    lines: tuple[Line, ...]
    currency: str = CURRENCY

    @property
    def total_paise(self) -> int:
        return sum(line.line_total_paise for line in self.lines)

    @property
    def units_count(self) -> int:
        return sum(line.quantity for line in self.lines)

    @property
    def checksum(self) -> int:
        """Covers what can change without the buyer: the price and the problem of each line."""
        seen = [(line.variant_id, line.unit_price_paise, line.problem) for line in self.lines]
        return zlib.crc32(json.dumps(seen).encode())


# Units that are held for the buyer's own unpaid orders count as available to this buyer.
OWN_UNITS = """
    SELECT line.variant_id, sum(line.units)::int AS held
    FROM shop_order placed JOIN shop_orderline line ON line.order_id = placed.id
    WHERE placed.owner_id = %s AND placed.stock_state = 'held' GROUP BY line.variant_id
"""

# One statement for cart and lines: with two, the lines could belong to another version than the
# one returned, and the client would cache that pair under its ETag.
_CONTENTS = f"""
    SELECT cart.id, cart.owner_id, owner.email, cart.version, cart.shown, cart.updated_at,
           item.id, product.id, variant.id, variant.sku, product.name, variant.name,
           item.quantity, variant.price_paise, variant.is_active AND product.is_active,
           coalesce(stock.on_hand - stock.held, 0) + coalesce(own.held, 0)
    FROM shop_cart cart
    JOIN shop_user owner ON owner.id = cart.owner_id
    LEFT JOIN shop_cartitem item ON item.cart_id = cart.id
    LEFT JOIN shop_variant variant ON variant.id = item.variant_id
    LEFT JOIN shop_product product ON product.id = variant.product_id
    LEFT JOIN shop_stocklevel stock ON stock.variant_id = variant.id
    LEFT JOIN ({OWN_UNITS}) AS own ON own.variant_id = variant.id
    WHERE cart.owner_id = %s AND owner.is_active
    ORDER BY item.id
"""


def contents(owner_id: int) -> Contents | None:
    """The cart of `owner_id`, or None if it does not exist yet. One query, no lock."""
    with connection.cursor() as cursor:
        cursor.execute(_CONTENTS, [owner_id, owner_id])
        rows = cursor.fetchall()
    if not rows:
        return None
    cart_id, owner, email, version, shown, updated_at = rows[0][:6]
    lines = tuple(Line(*row[6:]) for row in rows if row[6] is not None)
    return Contents(cart_id, owner, email or "", version, shown, updated_at, lines)


def read(owner_id: int, *, now: datetime) -> Contents:
    """
    Return the buyer's cart for display; create it if necessary.

    Updates `updated_at`, and gives the cart a new version if a price or a problem has changed since
    the current version was shown.

    :raises NoSuchBuyer: the owner is deleted or inactive.
    """
    cart = contents(owner_id)
    if cart is None:
        _ensure(owner_id, now=now)
        cart = contents(owner_id)
    if cart is None:
        raise NoSuchBuyer(owner_id)
    if cart.shown == cart.checksum and now - cart.updated_at < TOUCH_EVERY:
        return cart
    version = cart.version if cart.shown == cart.checksum else cart.version + 1
    ours = Cart.objects.filter(pk=cart.cart_id, version=cart.version, shown=cart.shown)
    if ours.update(version=version, shown=cart.checksum, updated_at=now):
        return replace(cart, version=version, shown=cart.checksum, updated_at=now)
    return contents(owner_id) or cart  # a concurrent request changed it first


def is_of_version(cart_id: int, version: int) -> bool:
    """Whether the cart still has this version."""
    return Cart.objects.filter(pk=cart_id, version=version).exists()


def add(owner_id: int, *, variant_id: int, quantity: int, now: datetime) -> Contents:
    """
    Put `quantity` more units of a variant into the cart. A repeat adds again.

    Stock is not checked here: a line that cannot be bought says so in its `problem`.

    :raises CartError: the line or the cart would exceed its limit.
    """
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        lines = dict(cart.items.values_list("variant_id", "quantity"))
        if variant_id not in lines and len(lines) >= MAX_LINES:
            raise CartError("cart_full", f"A cart holds at most {MAX_LINES} different items.")
        _refuse_too_many(lines.get(variant_id, 0) + quantity)
        item, made = CartItem.objects.get_or_create(
            cart=cart, variant_id=variant_id, defaults={"quantity": quantity}
        )
        if not made:
            CartItem.objects.filter(pk=item.pk).update(quantity=F("quantity") + quantity)
        return _next_version(cart, now=now)


def set_quantity(owner_id: int, item_id: int, *, quantity: int, now: datetime) -> Contents:
    """
    Set the quantity of a line.

    :raises CartItem.DoesNotExist: no such line in this buyer's cart.
    :raises CartError: too many units.
    """
    _refuse_too_many(quantity)
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        if not cart.items.filter(pk=item_id).update(quantity=quantity):
            raise CartItem.DoesNotExist
        return _next_version(cart, now=now)


def remove(owner_id: int, item_id: int, *, now: datetime) -> Contents:
    """
    Remove a line.

    :raises CartItem.DoesNotExist: no such line in this buyer's cart.
    """
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        deleted, _ = cart.items.filter(pk=item_id).delete()
        if not deleted:
            raise CartItem.DoesNotExist
        return _next_version(cart, now=now)


def clear(owner_id: int, *, now: datetime) -> Contents:
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        cart.items.all().delete()
        return _next_version(cart, now=now)


def hand_over(*, guest_id: int, into_id: int) -> None:
    """Make a guest's cart the cart of an account that has none yet."""
    Cart.objects.filter(owner_id=guest_id).update(owner_id=into_id)


def merge(*, guest_id: int, into_id: int, now: datetime) -> None:
    """
    Move a deactivated guest's lines into an account's cart.

    Quantities are added and capped by the stock and the line limit. Units held for the account's
    own unpaid orders count as stock, so move the guest's orders to the account first. The guest's
    cart is empty afterwards, so a repeat adds nothing. Locks the carts in id order.
    """
    with transaction.atomic():
        _ensure(into_id, now=now)
        carts = {
            cart.owner_id: cart
            for cart in Cart.objects.filter(owner_id__in=[guest_id, into_id])
            .order_by("id")
            .select_for_update(no_key=True)
        }
        guest, account = carts.get(guest_id), carts[into_id]
        if guest is None:
            return
        kept = dict(account.items.values_list("variant_id", "quantity"))
        own = _own_units(into_id)
        moved = guest.items.select_related("variant__stock")
        for item in moved:
            already = kept.get(item.variant_id, 0)
            free = item.variant.stock.free if hasattr(item.variant, "stock") else 0
            free += own.get(item.variant_id, 0)
            merged = min(already + item.quantity, MAX_LINE_UNITS, max(free, already))
            if merged < 1 or (not already and len(kept) >= MAX_LINES):
                continue
            kept[item.variant_id] = merged
            account.items.update_or_create(
                variant_id=item.variant_id, defaults={"quantity": merged}
            )
        guest.items.all().delete()
        _next_version(account, now=now)


def _own_units(owner_id: int) -> dict[int, int]:
    """Units held for this buyer's unpaid orders: {variant id: units}."""
    with connection.cursor() as cursor:
        cursor.execute(OWN_UNITS, [owner_id])
        return dict(cursor.fetchall())


def remove_bought(bought: Mapping[tuple[int, int], int], *, now: datetime) -> None:
    """
    Remove bought units from their buyers' carts: {(owner id, variant id): units}.

    Units that the buyer added after the POST stay. Locks the carts in id order; call it after the
    stock rows are locked.
    """
    if not bought:
        return
    owner_ids = [owner_id for owner_id, _ in bought]
    tail = "WHERE owner_id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
    locked = fast.select(Cart, tail, [fast.array(set(owner_ids))])
    records = [
        {"owner_id": owner_id, "variant_id": variant_id, "units": units}
        for (owner_id, variant_id), units in bought.items()
    ]
    given = [fast.as_json(records)]
    matching = """
        json_to_recordset(%s::json) AS bought (owner_id bigint, variant_id bigint, units int)
        JOIN shop_cart cart ON cart.owner_id = bought.owner_id
        WHERE item.cart_id = cart.id AND item.variant_id = bought.variant_id
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM shop_cartitem item USING {matching} AND item.quantity <= bought.units",
            given,
        )
        if cursor.rowcount < len(bought):
            cursor.execute(
                "UPDATE shop_cartitem item SET quantity = item.quantity - bought.units"
                f" FROM {matching}",
                given,
            )
        cursor.execute(
            "UPDATE shop_cart SET version = version + 1, updated_at = %s WHERE id = ANY(%s)",
            [now, fast.array(cart.pk for cart in locked)],
        )


def _lock(owner_id: int, *, now: datetime) -> Cart:
    """Return the buyer's cart, created if necessary and locked until the transaction ends."""
    carts = Cart.objects.filter(owner_id=owner_id).select_for_update(no_key=True)
    cart = carts.first()
    if cart is None:
        _ensure(owner_id, now=now)
        cart = carts.get()
    return cart


def _ensure(owner_id: int, *, now: datetime) -> None:
    """Create the buyer's cart if there is none. One statement, safe under concurrency."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO shop_cart (owner_id, version, shown, created_at, updated_at)
            SELECT id, 1, %s, %s, %s FROM shop_user WHERE id = %s AND is_active
            ON CONFLICT (owner_id) DO NOTHING
            """,
            [EMPTY_CHECKSUM, now, now, owner_id],
        )
        if cursor.rowcount == 0:
            accounts.require_active(owner_id)


def _next_version(cart: Cart, *, now: datetime) -> Contents:
    """
    Give the locked cart its next version, and return its contents.

    :raises NoSuchBuyer: the owner was deactivated; the caller's transaction rolls back.
    """
    shown = contents(cart.owner_id)
    if shown is None:
        raise NoSuchBuyer(cart.owner_id)
    after = replace(shown, version=shown.version + 1, shown=shown.checksum, updated_at=now)
    Cart.objects.filter(pk=cart.pk).update(version=after.version, shown=after.shown, updated_at=now)
    return after


def _refuse_too_many(quantity: int) -> None:
    if quantity > MAX_LINE_UNITS:
        raise CartError(
            "quantity_too_large",
            f"You can order at most {MAX_LINE_UNITS} of one item.",
            limit=MAX_LINE_UNITS,
        )
