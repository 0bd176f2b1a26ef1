"""
A buyer's cart: one per user, made on first use, never named by the buyer.

`version` counts what the buyer can have seen: it grows with every change of the lines, and when a
price or a problem on a line changes by itself. So it serves as the ETag, and a checkout that
names it is about exactly these lines.

Every change locks the cart's row, so changes from two tabs follow each other and none is lost.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import Error, connection, models, transaction
from django.db.models import F, Q

from shop.accounts import NoSuchBuyer, User
from shop.catalogue import Variant
from shop.db import fast
from shop.money import CURRENCY
from shop.telemetry.instruments import CARTS

logger = logging.getLogger(__name__)

LINE_UNITS_LIMIT = 100  # more of one thing is a wholesale order, or a slip of the finger
LINES_LIMIT = 100
EMPTY_CHECKSUM = zlib.crc32(b"[]")  # what an empty cart shows
STALE = "stale"  # as metrics say it: storefronts have words of their own, any number of them
DETAIL_CHARS = 500
# What a storefront may say was the matter; any other word counts as OTHER, so that those of buyers
# who make up words do not fill the figures.
OTHER = "other"
STALE_KINDS = frozenset({"stale_copy", "cart_empty", "cart_not_found", "cart_changed", OTHER})
REFUSED = "refused:"  # of a kind that we note; storefronts cannot send the colon
FRESH_FOR = timedelta(minutes=1)  # reading a cart writes `updated_at` at most this often


class CartError(Exception):
    """A change the cart refuses, in words for the buyer."""

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class Cart(models.Model):
    owner = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    version = models.PositiveIntegerField(default=1)
    shown = models.BigIntegerField()  # checksum of what `version` showed of each line
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        # BRIN, so that the many updates of this column stay on their page (HOT).
        indexes = [BrinIndex(fields=["updated_at"], name="cart_updated_at", pages_per_range=16)]

    def __str__(self) -> str:
        return f"cart {self.pk}"


class CartItem(models.Model):
    cart = models.ForeignKey(
        Cart,
        on_delete=models.CASCADE,
        related_name="items",
        db_index=False,  # `cart_item_one_per_variant` begins with it
    )
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cart", "variant"], name="cart_item_one_per_variant"),
            models.CheckConstraint(
                condition=Q(quantity__range=(1, LINE_UNITS_LIMIT)),
                name="cart_item_quantity_within_limit",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.variant_id}"


class SyncEvent(models.Model):
    """
    A sign that a storefront's copy of the cart was stale: its own report, or a POST of a checkout
    that we refused for it (`REFUSED`). Counted for operations.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=40)
    cart_id_seen = models.BigIntegerField(null=True, blank=True)
    cart_version_seen = models.BigIntegerField(null=True, blank=True)
    detail = models.CharField(max_length=DETAIL_CHARS, blank=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "cart sync event"
        indexes = [BrinIndex(fields=["at"], name="sync_event_at", autosummarize=True)]

    def __str__(self) -> str:
        return f"{self.kind} of user {self.owner_id}"


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
    available: int  # to this buyer: free units, and those held for the buyer's own unpaid orders

    @property
    def name(self) -> str:
        return (
            f"{self.product_name}, {self.variant_name}" if self.variant_name else self.product_name
        )

    @property
    def line_total_paise(self) -> int:
        return self.quantity * self.unit_price_paise

    @property
    def problem(self) -> str | None:
        """Why this line cannot be bought as it stands, in words for the buyer."""
        if not self.is_sold:
            return "No longer on sale"
        if self.available <= 0:
            return "Out of stock"
        if self.available < self.quantity:
            return f"Only {self.available} left"
        return None


@dataclass(frozen=True, slots=True)
class Contents:
    """A cart as one statement read it: version and lines belong together."""

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
        """Of what the buyer sees and we may change without them: prices and problems."""
        seen = [(line.variant_id, line.unit_price_paise, line.problem) for line in self.lines]
        return zlib.crc32(json.dumps(seen).encode())


# Units that are held for the buyer's own unpaid orders are available to this buyer.
OWN_UNITS = """
    SELECT line.variant_id, sum(line.units)::int AS held
    FROM shop_order placed JOIN shop_orderline line ON line.order_id = placed.id
    WHERE placed.owner_id = %s AND placed.stock_state = 'held' GROUP BY line.variant_id
"""

# One statement for cart and lines: two could show the lines of one version under the number of
# another, and the client would keep that pair as valid.
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
    """The cart of `owner_id` as it stands, None if there is none (yet). One query, no lock."""
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
    The cart as the buyer is about to see it, made if it is not there.

    Reading keeps the cart fresh, and gives it a new version when a price or a problem has changed
    since that version was shown.
    """
    cart = contents(owner_id)
    if cart is None:
        _ensure(owner_id, now=now)
        cart = contents(owner_id)
    if cart is None:
        raise NoSuchBuyer(owner_id)
    if cart.shown == cart.checksum and now - cart.updated_at < FRESH_FOR:
        return cart
    version = cart.version if cart.shown == cart.checksum else cart.version + 1
    ours = Cart.objects.filter(pk=cart.cart_id, version=cart.version, shown=cart.shown)
    if ours.update(version=version, shown=cart.checksum, updated_at=now):
        return replace(cart, version=version, shown=cart.checksum, updated_at=now)
    return contents(owner_id) or cart  # someone was faster: theirs is the cart now


def is_of_version(cart_id: int, version: int) -> bool:
    """Whether nothing has changed in the cart since it was read with this version."""
    return Cart.objects.filter(pk=cart_id, version=version).exists()


def add(owner_id: int, *, variant_id: int, quantity: int, now: datetime) -> Contents:
    """
    Put `quantity` more units of a variant into the cart. A repeat adds again.

    Stock is not asked: a cart is a wish, and the line says if it cannot be had.

    :raises CartError: the line or the cart would grow past its limit.
    """
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        lines = dict(cart.items.values_list("variant_id", "quantity"))
        if variant_id not in lines and len(lines) >= LINES_LIMIT:
            raise CartError("cart_full", f"A cart holds at most {LINES_LIMIT} different items.")
        _refuse_too_many(lines.get(variant_id, 0) + quantity)
        item, made = CartItem.objects.get_or_create(
            cart=cart, variant_id=variant_id, defaults={"quantity": quantity}
        )
        if not made:
            CartItem.objects.filter(pk=item.pk).update(quantity=F("quantity") + quantity)
        return _changed(cart, now=now)


def set_quantity(owner_id: int, item_id: int, *, quantity: int, now: datetime) -> Contents:
    """
    :raises CartItem.DoesNotExist: no such line in this buyer's cart.
    :raises CartError: too many units.
    """
    _refuse_too_many(quantity)
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        if not cart.items.filter(pk=item_id).update(quantity=quantity):
            raise CartItem.DoesNotExist
        return _changed(cart, now=now)


def remove(owner_id: int, item_id: int, *, now: datetime) -> Contents:
    """:raises CartItem.DoesNotExist: no such line in this buyer's cart."""
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        deleted, _ = cart.items.filter(pk=item_id).delete()
        if not deleted:
            raise CartItem.DoesNotExist
        return _changed(cart, now=now)


def clear(owner_id: int, *, now: datetime) -> Contents:
    with transaction.atomic():
        cart = _lock(owner_id, now=now)
        cart.items.all().delete()
        return _changed(cart, now=now)


def hand_over(*, guest_id: int, into_id: int) -> None:
    """Give a guest's cart, as it is, to an account that has none yet."""
    Cart.objects.filter(owner_id=guest_id).update(owner_id=into_id)


def merge(*, guest_id: int, into_id: int, now: datetime) -> None:
    """
    Move an ended guest's lines into an account's cart: quantities added, capped by stock and line
    limit. Units held for the account's own unpaid orders are available to it: hand over the guest's
    first.

    The guest's cart is empty afterwards, so a repeat adds nothing. Carts are locked in id order.
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
            merged = min(already + item.quantity, LINE_UNITS_LIMIT, max(free, already))
            if merged < 1 or (not already and len(kept) >= LINES_LIMIT):
                continue
            kept[item.variant_id] = merged
            account.items.update_or_create(
                variant_id=item.variant_id, defaults={"quantity": merged}
            )
        guest.items.all().delete()
        _changed(account, now=now)


def _own_units(owner_id: int) -> dict[int, int]:
    """Units of each variant that are held for this buyer's unpaid orders."""
    with connection.cursor() as cursor:
        cursor.execute(OWN_UNITS, [owner_id])
        return dict(cursor.fetchall())


def remove_bought(bought: Mapping[tuple[int, int], int], *, now: datetime) -> None:
    """
    Take bought units out of their buyers' carts: {(owner id, variant id): units}.

    Units that the buyer added since stay. Carts are locked in id order, after any stock rows.
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


def report_stale(
    owner_id: int,
    *,
    kind: str,
    cart_id_seen: int | None,
    cart_version_seen: int | None,
    detail: str,
    now: datetime,
) -> None:
    """
    Note that a storefront's copy of the cart was stale, as the storefront tells it. A `kind` that
    is none of `STALE_KINDS` is noted as `other`, and the word itself before the `detail`.
    """
    if not _is_active(owner_id):
        raise NoSuchBuyer(owner_id)
    if kind not in STALE_KINDS:
        kind, detail = OTHER, f"{kind}: {detail}"[:DETAIL_CHARS]
    CARTS.labels(STALE).inc()
    SyncEvent.objects.create(
        owner_id=owner_id,
        kind=kind,
        cart_id_seen=cart_id_seen,
        cart_version_seen=cart_version_seen,
        detail=detail,
        at=now,
    )


def note_refused(cart: Contents, *, code: str, version_seen: int | None, now: datetime) -> None:
    """
    Note for operations that a POST of this cart was refused. Best effort: what cannot be written is
    logged, and the buyer gets the refusal all the same.
    """
    CARTS.labels(code).inc()
    try:
        SyncEvent.objects.create(
            owner_id=cart.owner_id,
            kind=f"{REFUSED}{code}",
            cart_id_seen=cart.cart_id,
            cart_version_seen=version_seen,
            at=now,
        )
    except Error:
        logger.warning("a refused checkout (%s) is not counted", code, exc_info=True)


def _lock(owner_id: int, *, now: datetime) -> Cart:
    """The buyer's cart, locked until the transaction ends."""
    carts = Cart.objects.filter(owner_id=owner_id).select_for_update(no_key=True)
    cart = carts.first()
    if cart is None:
        _ensure(owner_id, now=now)
        cart = carts.get()
    return cart


def _ensure(owner_id: int, *, now: datetime) -> None:
    """Make the buyer's cart unless it is there: one statement, safe to race."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO shop_cart (owner_id, version, shown, created_at, updated_at)
            SELECT id, 1, %s, %s, %s FROM shop_user WHERE id = %s AND is_active
            ON CONFLICT (owner_id) DO NOTHING
            """,
            [EMPTY_CHECKSUM, now, now, owner_id],
        )
        if cursor.rowcount == 0 and not _is_active(owner_id):
            raise NoSuchBuyer(owner_id)


def _is_active(owner_id: int) -> bool:
    return User.objects.filter(pk=owner_id, is_active=True).exists()


def _changed(cart: Cart, *, now: datetime) -> Contents:
    """
    Give the cart, which we have locked, its next version; what that version shows.

    :raises NoSuchBuyer: the owner was switched off; so the change is taken back.
    """
    shown = contents(cart.owner_id)
    if shown is None:
        raise NoSuchBuyer(cart.owner_id)
    after = replace(shown, version=shown.version + 1, shown=shown.checksum, updated_at=now)
    Cart.objects.filter(pk=cart.pk).update(version=after.version, shown=after.shown, updated_at=now)
    return after


def _refuse_too_many(quantity: int) -> None:
    if quantity > LINE_UNITS_LIMIT:
        raise CartError(
            "quantity_too_large",
            f"You can order at most {LINE_UNITS_LIMIT} of one item.",
            limit=LINE_UNITS_LIMIT,
        )
