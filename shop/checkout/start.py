"""
Start a checkout from a buyer's POST, durably; and cancel it for the buyer.

The cart is not locked. One statement reads it whole, the insert checks that it still has that
version, and a unique index allows one open checkout for each cart. Of twenty equal POSTs one
inserts a checkout, and the others find it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import IntegrityError, connection, models, transaction

from shop import accounts, cart_sync, carts, stock
from shop.carts import Contents
from shop.checkout import holds, jobs, purchase, snapshots
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance
from shop.checkout.snapshots import Snapshot
from shop.checkout.states import OPEN, State
from shop.db import fast
from shop.orders import FrozenLine

MAX_TRIES = 5  # of a POST; each finds what another POST committed since the last


class IdempotencyKey(models.Model):
    """A key that a buyer sent, and its checkout. Deleted after `KEEP_KEYS_DAYS`."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,  # `idempotency_key_once_per_owner` begins with it
    )
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    job = models.ForeignKey(CheckoutJob, on_delete=models.CASCADE, related_name="keys")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="idempotency_key_once_per_owner"),
        ]
        indexes = [BrinIndex(fields=["created_at"], name="key_created_at", autosummarize=True)]

    def __str__(self) -> str:
        return self.key


class CheckoutRefused(Exception):
    """A POST that started no checkout, with a sentence for the buyer."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class KeyReused(CheckoutRefused):
    """The key was used for another request. A new checkout needs a new key."""

    def __init__(self) -> None:
        super().__init__(
            "idempotency_key_reused",
            "This Idempotency-Key was used for a different checkout. Please use a new one.",
        )


class CartEmpty(CheckoutRefused):
    def __init__(self, cart: Contents) -> None:
        super().__init__(
            "cart_empty",
            f"Cart is empty. Please add items to cart first. Cart ID: {cart.cart_id}",
            cart_id=cart.cart_id,
            user_id=cart.owner_id,
        )


class CartChanged(CheckoutRefused):
    """The buyer's page shows another cart than the server's, which is `cart`."""

    def __init__(self, cart: Contents) -> None:
        super().__init__("cart_changed", "Your cart has changed. Please check it and order again.")
        self.cart = cart


class TooManyUnits(CheckoutRefused):
    """More units than a buyer may hold unpaid."""

    def __init__(self, cart: Contents) -> None:
        limit = settings.HELD_UNITS_PER_BUYER
        super().__init__(
            "too_many_units",
            f"At most {limit} items can be ordered at once. Please take some out of your cart, and"
            " order them when these are paid.",
            limit=limit,
            units=cart.units_count,
        )


class CartNotFound(CheckoutRefused):
    def __init__(self, owner_id: int) -> None:
        super().__init__(
            "cart_not_found",
            f"Cart not found or doesn't belong to you. Your user ID: {owner_id}",
            user_id=owner_id,
        )


class PaymentInProgress(CheckoutRefused):
    """
    Money of an older checkout of this buyer is known or signed for (see `purchase`), and not
    settled. The buyer could pay for the same goods twice.
    """

    def __init__(self, job: CheckoutJob) -> None:
        super().__init__(
            "payment_in_progress",
            "We are looking into the payment for your last checkout. You need not pay again."
            if job.state == State.IN_REVIEW
            else "A payment for your last checkout is on its way. Please wait a moment for it.",
            checkout_id=str(job.pk),
        )


class CannotCancel(CheckoutRefused):
    def __init__(self, job: CheckoutJob) -> None:
        super().__init__(
            "cannot_cancel",
            "This checkout cannot be cancelled any more.",
            status=job.state,
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """The buyer's request apart from the goods."""

    payment_method: str
    currency: str
    shipping_address: dict[str, str]
    billing_address: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "payment_method": self.payment_method,
            "currency": self.currency,
            "shipping_address": self.shipping_address,
            "billing_address": self.billing_address,
        }

    @property
    def hash(self) -> str:
        return _hash(self.to_json())


@dataclass(frozen=True, slots=True)
class ClientView:
    """The cart as the buyer's page shows it. None: the request does not say."""

    cart_id: int | None = None
    cart_version: int | None = None
    total_paise: int | None = None

    def to_json(self) -> dict[str, int | None]:
        return {
            "cart_id": self.cart_id,
            "cart_version": self.cart_version,
            "total_paise": self.total_paise,
        }


@dataclass(frozen=True, slots=True)
class Started:
    job_id: uuid.UUID
    replayed: bool = False  # the same request with the same key came before
    made: Snapshot | None = None  # if this request inserted it


def start(
    *,
    owner_id: int,
    terms: Terms,
    seen: ClientView,
    key: str,
    now: datetime,
    address_key: int | None = None,
) -> Started:
    """
    Start a checkout of the buyer's cart, durably, or find the one that exists.

    The same key and request always give the same checkout. Without a key, or with a new one, the
    open checkout of these lines, prices and terms is found; any other open one is cancelled, and
    its units are kept for the new one as far as both have the same products. A refusal writes
    nothing, except for empty, stale and too large carts a line for operations
    (`cart_sync.record_refusal`). `address_key`: of the caller, from `holds.address_key`.

    Locks: the buyer's user row, the unsettled jobs in id order, then stock rows.

    :raises CheckoutRefused: with a code and a sentence; see the subclasses. `CartChanged` also if
        the cart changes during each of `MAX_TRIES` tries.
    :raises NoSuchBuyer: the buyer's account is gone, or the guest was merged into an account.
    """
    request_hash = _hash([terms.to_json(), seen.to_json()])
    for _ in range(MAX_TRIES):
        refusal: CheckoutRefused | None = None
        try:
            cart = carts.read(owner_id, now=now)
            job = _new_job(cart, terms, address_key=address_key, now=now)
            _check(cart, seen, job)
            if _insert_first(job, key=key, request_hash=request_hash):
                return Started(job.pk, made=snapshots.of_new(job))
            return Started(_open(job, key=key, request_hash=request_hash, now=now))
        except IntegrityError:
            pass  # an equal POST was faster, the key is known, or the cart changed: try again
        except CheckoutRefused as refused:
            refusal = refused
        # Not before: to look for each new key first would cost each POST a query.
        if replay := _replay(owner_id, key, request_hash):
            return replay
        if refusal:
            if isinstance(refusal, CartEmpty | CartChanged | TooManyUnits):
                cart_sync.record_refusal(
                    cart, code=refusal.code, version_seen=seen.cart_version, now=now
                )
            raise refusal
    raise CartChanged(carts.read(owner_id, now=now))


# The common case in one statement: a buyer without an unsettled checkout, and a new key. It inserts
# nothing in any other case, nor if the cart's version has changed since it was read, as it does
# when the cart is bought.
_INSERT_FIRST = f"""
    WITH made AS (
        {{insertion}}
        WHERE NOT EXISTS (
            SELECT FROM shop_checkoutjob AS mine
            WHERE mine.owner_id = given.owner_id AND {purchase.unsettled("mine")}
        ) AND NOT EXISTS (
            SELECT FROM shop_idempotencykey AS known
            WHERE known.owner_id = given.owner_id AND known.key = %s
        ) AND EXISTS (
            SELECT FROM shop_user AS buyer WHERE buyer.id = given.owner_id AND buyer.is_active
            FOR SHARE
        ) AND EXISTS (
            SELECT FROM shop_cart AS cart
            WHERE cart.id = given.cart_id AND cart.version = given.cart_version
        )
        ON CONFLICT DO NOTHING RETURNING id, owner_id, created_at
    ), kept AS (
        INSERT INTO shop_idempotencykey (owner_id, key, request_hash, job_id, created_at)
        SELECT owner_id, %s, %s, id, created_at FROM made WHERE %s <> ''
    )
    SELECT FROM made
"""


def _insert_first(job: CheckoutJob, *, key: str, request_hash: str) -> bool:
    """
    Insert the job and its key in the common case; in any other, write nothing and return False.

    :raises IntegrityError: the same key came at the same time. Nothing is written then.
    """
    statement = _INSERT_FIRST.format(insertion=fast.insertion(CheckoutJob, rows="json_to_record"))
    given = fast.as_json_object(fast.values(job))
    with connection.cursor() as cursor:
        too_old = job.created_at - purchase.MONEY_MAY_COME_FOR
        cursor.execute(statement, [given, too_old, key, key, request_hash, key])
        return bool(cursor.rowcount)


def _open(job: CheckoutJob, *, key: str, request_hash: str, now: datetime) -> uuid.UUID:
    """
    Find the open checkout that equals `job`, or insert it; keep the key with it.

    :raises IntegrityError: the key is known, an equal POST was faster, or the cart has changed
        since it was read. Nothing is written then.
    :raises NoSuchBuyer: the guest was merged since the cart was read. Nothing is written then.
    """
    with transaction.atomic():
        accounts.lock_active(job.owner_id)
        job_id = _find_or_insert(job, now=now)
        if key:
            known = IdempotencyKey(
                owner_id=job.owner_id,
                key=key,
                request_hash=request_hash,
                job_id=job_id,
                created_at=now,
            )
            fast.insert(IdempotencyKey, [known])
    return job_id


def _replay(owner_id: int, key: str, request_hash: str) -> Started | None:
    if not key:
        return None
    known = IdempotencyKey.objects.filter(owner_id=owner_id, key=key)
    for known_hash, job_id in known.values_list("request_hash", "job_id"):
        if known_hash != request_hash:
            raise KeyReused
        return Started(job_id, replayed=True)
    return None


def _check(cart: Contents, seen: ClientView, job: CheckoutJob) -> None:
    if seen.cart_id is not None and seen.cart_id != cart.cart_id:
        raise CartNotFound(cart.owner_id)
    if not cart.lines:
        raise CartEmpty(cart)
    version = seen.cart_version
    stale_version = (
        version is not None and version != cart.version and not _was_posted(job, version)
    )
    stale_total = seen.total_paise is not None and seen.total_paise != cart.total_paise
    if stale_version or stale_total:
        raise CartChanged(cart)
    if cart.units_count > settings.HELD_UNITS_PER_BUYER:
        raise TooManyUnits(cart)


def _was_posted(job: CheckoutJob, version: int) -> bool:
    """
    Whether the buyer has an open checkout of that version of the cart, with these lines, prices and
    terms. Then this is a repeat, although the cart has another version now: a line that was out of
    stock at the first POST may be held for this buyer since.
    """
    posted = CheckoutJob.objects.filter(
        owner_id=job.owner_id,
        state__in=sorted(OPEN),
        cart_id=job.cart_id,
        cart_version=version,
        terms_hash=job.terms_hash,
    )
    return any(purchase.same_cart(job, other) for other in posted)


def _find_or_insert(new: CheckoutJob, *, now: datetime) -> uuid.UUID:
    """
    :raises PaymentInProgress: money of one of the buyer's checkouts is not settled yet.
    :raises IntegrityError: the cart has changed since it was read.
    """
    mine = purchase.lock_unsettled(owner_id=new.owner_id, now=now)
    open_ones = [job for job in mine if State(job.state) in OPEN]
    for job in open_ones:
        if job.terms_hash == new.terms_hash and purchase.same_cart(job, new):
            return job.pk
    money = purchase.with_money(mine, now=now)
    for job in mine:
        if job.pk in money:
            raise PaymentInProgress(job)
    # After the locks: `settle` may have emptied the cart while we waited for them.
    if not carts.is_of_version(new.cart_id, new.cart_version):
        raise IntegrityError("the cart has changed since it was read")
    _supersede(open_ones, new, now=now)
    fast.insert(CheckoutJob, [new])
    return new.pk


def _supersede(open_ones: Sequence[CheckoutJob], new: CheckoutJob, *, now: datetime) -> None:
    """
    Cancel these checkouts in favour of `new`. Units that they hold of its products stay held until
    it holds its own, so a buyer who corrects an address does not lose the last unit. The new hold
    ends when the old one had to. If that leaves too little time to pay, the units are released.
    """
    if not open_ones:
        return
    held = stock.held_by({order_id for job in open_ones for order_id in job.holding_order_ids})
    products = {line.variant_id for line in new.frozen_lines}
    shared = {order_id for order_id, units in held.items() if products & units.keys()}
    new.hold_until = holds.inherited_hold_until(
        job for job in open_ones if not shared.isdisjoint(job.holding_order_ids)
    )
    new.takes_over = sorted(shared) if holds.leaves_time_to_pay(new.hold_until, now=now) else []
    cancelled = Advance(State.CANCELLED, "superseded by a newer checkout", keeps_units=True)
    jobs.apply([(job, cancelled) for job in open_ones], now=now)
    stock.release(held.keys() - set(new.takes_over))


def _new_job(
    cart: Contents, terms: Terms, *, address_key: int | None, now: datetime
) -> CheckoutJob:
    return CheckoutJob(
        owner_id=cart.owner_id,
        cart_id=cart.cart_id,
        cart_version=cart.version,
        currency=terms.currency,
        shipping_address=terms.shipping_address,
        billing_address=terms.billing_address,
        email=cart.owner_email,
        terms_hash=terms.hash,
        lines=[
            FrozenLine(
                variant_id=line.variant_id,
                sku=line.sku,
                name=line.name,
                units=line.quantity,
                unit_price_paise=line.unit_price_paise,
            ).to_json()
            for line in cart.lines
        ],
        items_count=len(cart.lines),
        amount_paise=cart.total_paise,
        address_key=address_key,
        due_at=now,
        created_at=now,
        updated_at=now,
    )


def cancel(*, owner_id: int, job_id: uuid.UUID, now: datetime) -> CheckoutJob:
    """
    Cancel an unpaid checkout for the buyer and release its units. A repeat changes nothing.

    :raises CheckoutJob.DoesNotExist: not this buyer's.
    :raises CannotCancel: its money is known or signed for, or it has ended in another way.
    """
    with transaction.atomic():
        job = CheckoutJob.objects.select_for_update(no_key=True).get(pk=job_id, owner_id=owner_id)
        if job.state == State.CANCELLED:
            return job
        if State(job.state) not in OPEN or purchase.with_money([job], now=now):
            raise CannotCancel(job)
        jobs.apply([(job, Advance(State.CANCELLED, "cancelled by the buyer"))], now=now)
    return CheckoutJob.objects.get(pk=job_id)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
