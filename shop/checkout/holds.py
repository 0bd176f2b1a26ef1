"""
Limits on units held unpaid, so that nobody can empty the shop without paying.

`create_order` applies them, in the transaction that holds the units:

- One network address holds at most `HELD_UNITS_PER_ADDRESS` units, and of each variant
  `HELD_PERCENT_PER_ADDRESS` of the units on hand.
- All guests together hold at most `HELD_PERCENT_BY_GUESTS` of the units on hand of a variant.
- A share is never less than `HELD_UNITS_FLOOR` units, so small stocks stay sellable.
- A buyer holds the same variant for at most `longest_hold()` without a break of
  `break_between_holds()`, however often the checkout is posted, superseded or cancelled.
  `CheckoutJob.hold_until` is the end, and `expire.FINAL_POLL_GRACE` is added for the final poll.
  Money that is known or signed for (see `purchase`) keeps units longer; see `expire`.

The shares and the total are exact: locked stock rows and a lock on each address keep other batches
from holding more in between. Locks are taken in this order: jobs by id, addresses by key, stock
rows by variant, carts by id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.utils.crypto import salted_hmac

from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Fail
from shop.checkout.states import OPEN, UNPAID_ENDS, in_sql
from shop.db import fast
from shop.orders import FrozenLine
from shop.stock import StockLevel

# The failure codes of these limits. The operations page counts them.
TOO_MANY_HELD = "too_many_held"
GUESTS_HOLD_TOO_MANY = "guests_hold_too_many"
HELD_TOO_LONG = "held_too_long"
REFUSALS = (TOO_MANY_HELD, GUESTS_HOLD_TOO_MANY, HELD_TOO_LONG)

# Fractions of HOLD_SECONDS, which is 15 minutes by default: three minutes and one minute.
MIN_TIME_TO_PAY = 1 / 5
BREAK = 1 / 15

MAX_CHECKOUT_AGE = timedelta(days=1)  # posted earlier, a checkout has no hold that ended just now


def longest_hold() -> timedelta:
    """
    The time from a buyer's first hold to the end of the last, over all checkouts that follow each
    other without a break.
    """
    return 2 * timedelta(seconds=settings.HOLD_SECONDS)


def min_time_to_pay() -> timedelta:
    return timedelta(seconds=settings.HOLD_SECONDS * MIN_TIME_TO_PAY)


def break_between_holds() -> timedelta:
    return timedelta(seconds=settings.HOLD_SECONDS * BREAK)


def inherited_hold_until(superseded: Iterable[CheckoutJob]) -> datetime | None:
    """The end of the hold on units that are taken over from these; None if they hold none."""
    return min((job.hold_until for job in superseded if job.hold_until is not None), default=None)


def leaves_time_to_pay(hold_until: datetime | None, *, now: datetime) -> bool:
    """Whether a hold that ends then leaves the buyer enough time to pay."""
    return hold_until is None or hold_until - now >= min_time_to_pay()


@lru_cache(maxsize=4096)
def address_key(address: str) -> int | None:
    """
    A keyed hash of a network address, as 64 signed bits. None for addresses without a limit.

    Those are loopback and private addresses, which no buyer on the internet has. They belong to a
    proxy that `TRUSTED_PROXIES` does not count and that all buyers share, or to a test on this
    machine.
    """
    try:
        if not ip_address(address).is_global:
            return None
    except ValueError:
        return None
    digest = salted_hmac("shop.checkout.holds", address, algorithm="sha256").digest()
    return int.from_bytes(digest[:8], signed=True)


@dataclass(slots=True)
class Buyer:
    is_guest: bool
    # By variant: the `hold_until` of a hold of this buyer that ended less than a break ago.
    hold_until: dict[int, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class Held:
    """The units held unpaid, as one batch counts them. `take` adds the units of the batch."""

    levels: Mapping[int, StockLevel]
    buyers: Mapping[int, Buyer]
    by_address: Counter[int]
    by_address_of_variant: Counter[tuple[int, int]]
    by_guests: Mapping[int, int]  # of variants whose held units are near the guests' share
    taken_by_guests: Counter[int] = field(default_factory=Counter)

    def refusal(self, job: CheckoutJob, *, now: datetime) -> Fail | None:
        """The limit that this checkout's units would exceed, in words for the buyer, or None."""
        if not leaves_time_to_pay(self.hold_until(job, now=now), now=now):
            return _held_too_long()
        for line in job.frozen_lines:
            if refusal := self._of_guests(job, line) or self._of_address(job, line):
                return refusal
        if job.address_key is not None:
            left = settings.HELD_UNITS_PER_ADDRESS - self.by_address[job.address_key]
            if sum(line.units for line in job.frozen_lines) > left:
                return _too_many_held()
        return None

    def take(self, job: CheckoutJob) -> None:
        is_guest = self.buyers[job.owner_id].is_guest
        for line in job.frozen_lines:
            if is_guest:
                self.taken_by_guests[line.variant_id] += line.units
            if job.address_key is not None:
                self.by_address[job.address_key] += line.units
                self.by_address_of_variant[job.address_key, line.variant_id] += line.units

    def hold_until(self, job: CheckoutJob, *, now: datetime) -> datetime:
        """
        The end of this hold. Inherited if the buyer held one of these variants less than a break
        ago, or if the job takes over units.
        """
        earlier = self.buyers[job.owner_id].hold_until
        ends = [earlier.get(line.variant_id) for line in job.frozen_lines]
        fresh = now + longest_hold()
        return min(end for end in (fresh, job.hold_until, *ends) if end is not None)

    def _of_guests(self, job: CheckoutJob, line: FrozenLine) -> Fail | None:
        held = self.by_guests.get(line.variant_id)
        if held is None or not self.buyers[job.owner_id].is_guest:
            return None
        held += self.taken_by_guests[line.variant_id]
        left = _share(self.levels[line.variant_id], settings.HELD_PERCENT_BY_GUESTS) - held
        return _guests_hold_too_many(line, left) if line.units > left else None

    def _of_address(self, job: CheckoutJob, line: FrozenLine) -> Fail | None:
        if job.address_key is None:
            return None
        held = self.by_address_of_variant[job.address_key, line.variant_id]
        left = _share(self.levels[line.variant_id], settings.HELD_PERCENT_PER_ADDRESS) - held
        return _too_many_held(line, left) if line.units > left else None


def _share(level: StockLevel, percent: int) -> int:
    """How many units of a variant a group may hold: `percent` of them, or the floor if more."""
    return max(level.on_hand * percent // 100, settings.HELD_UNITS_FLOOR)


def _too_many_held(line: FrozenLine | None = None, left: int = 0) -> Fail:
    what = f"as many of {line.name[:60]} as they may" if line else "as many items as they may"
    details = {"sku": line.sku, "wanted": line.units, "available": max(left, 0)} if line else {}
    return Fail(
        TOO_MANY_HELD,
        f"Unpaid orders from your network hold {what}. Please pay or cancel one of them first, or"
        " try again in a few minutes. Nothing was charged.",
        details,
    )


def _guests_hold_too_many(line: FrozenLine, left: int) -> Fail:
    return Fail(
        GUESTS_HOLD_TOO_MANY,
        f"Guests who have not paid yet hold as many of {line.name[:60]} as they may. Please sign"
        " in, or try again in a few minutes. Nothing was charged.",
        {"sku": line.sku, "wanted": line.units, "available": max(left, 0)},
    )


def _held_too_long() -> Fail:
    minutes = max(1, round(longest_hold().total_seconds() / 60))
    pause = max(1, round(break_between_holds().total_seconds()))
    return Fail(
        HELD_TOO_LONG,
        f"These items were set aside for you for {minutes} minutes and not paid, so others may have"
        f" them now. You can order again in {pause} seconds. Nothing was charged.",
        {"retry_after_seconds": pause},
    )


# --- queries -----------------------------------------------------------------------------------


def lock_addresses(batch: Iterable[CheckoutJob]) -> None:
    """
    Keep other batches from holding units for these addresses until the transaction ends. One
    statement, none if no checkout has an address. Call before the stock rows are locked.
    """
    if keys := sorted(_addresses(batch)):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key",
                [fast.array(keys)],
            )


def read(batch: Sequence[CheckoutJob], levels: Mapping[int, StockLevel], *, now: datetime) -> Held:
    """The units held unpaid that count for this batch. At most three statements."""
    buyers = _buyers({job.owner_id for job in batch}, now=now)
    by_address: Counter[int] = Counter()
    by_address_of_variant: Counter[tuple[int, int]] = Counter()
    for key, variant_id, units in _at_addresses(_addresses(batch)):
        by_address[key] += units
        by_address_of_variant[key, variant_id] += units
    wanted = _wanted_by_guests(batch, buyers)
    near_share = {
        variant_id
        for variant_id, units in wanted.items()
        if variant_id in levels
        and levels[variant_id].held + units
        > _share(levels[variant_id], settings.HELD_PERCENT_BY_GUESTS)
    }
    return Held(levels, buyers, by_address, by_address_of_variant, _by_guests(near_share))


def _addresses(batch: Iterable[CheckoutJob]) -> set[int]:
    return {job.address_key for job in batch if job.address_key is not None}


def _wanted_by_guests(batch: Iterable[CheckoutJob], buyers: Mapping[int, Buyer]) -> Counter[int]:
    wanted: Counter[int] = Counter()
    for job in batch:
        if buyers[job.owner_id].is_guest:
            for line in job.frozen_lines:
                wanted[line.variant_id] += line.units
    return wanted


_BUYERS = f"""
    SELECT buyer.id, buyer.is_guest, earlier.variant_id, earlier.hold_until
    FROM shop_user buyer LEFT JOIN LATERAL (
        SELECT line.variant_id, min(job.hold_until) AS hold_until
        FROM shop_checkoutjob job JOIN shop_orderline line ON line.order_id = job.order_id
        WHERE job.owner_id = buyer.id AND job.created_at > %s
            AND job.state IN ({in_sql(UNPAID_ENDS)}) AND job.hold_until IS NOT NULL
            AND EXISTS (
                SELECT FROM shop_transition ending
                WHERE ending.job_id = job.id AND ending.new = job.state AND ending.at > %s
            )
        GROUP BY line.variant_id
    ) AS earlier ON true
    WHERE buyer.id = ANY(%s)
"""


def _buyers(owner_ids: Iterable[int], *, now: datetime) -> dict[int, Buyer]:
    """The buyers by id, with their holds that ended less than a break ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            _BUYERS, [now - MAX_CHECKOUT_AGE, now - break_between_holds(), fast.array(owner_ids)]
        )
        found = cursor.fetchall()
    buyers: dict[int, Buyer] = {}
    for owner_id, is_guest, variant_id, hold_until in found:
        buyer = buyers.setdefault(owner_id, Buyer(is_guest))
        if variant_id is not None:
            buyer.hold_until[variant_id] = hold_until
    return buyers


# The units that a checkout holds: of its own order, or of orders that it takes over.
_HOLDING = """
    shop_checkoutjob job CROSS JOIN LATERAL (
        SELECT job.order_id UNION ALL
        SELECT taken.id::bigint FROM jsonb_array_elements_text(job.takes_over) AS taken (id)
    ) AS own (order_id)
    JOIN shop_order placed ON placed.id = own.order_id AND placed.stock_state = 'held'
    JOIN shop_orderline line ON line.order_id = placed.id
"""
# Only open checkouts have an address.
_AT_ADDRESSES = f"""
    SELECT job.address_key, line.variant_id, sum(line.units)
    FROM {_HOLDING} WHERE job.address_key = ANY(%s) GROUP BY 1, 2
"""


def _at_addresses(keys: Iterable[int]) -> list[tuple[int, int, int]]:
    keys = list(keys)
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_AT_ADDRESSES, [fast.array(keys)])
        return cursor.fetchall()


# Reads all open checkouts, so it runs only where `held`, of guests and others, is near the share.
_BY_GUESTS = f"""
    SELECT line.variant_id, sum(line.units)
    FROM {_HOLDING} JOIN shop_user buyer ON buyer.id = job.owner_id AND buyer.is_guest
    WHERE job.state IN ({in_sql(OPEN)}) AND line.variant_id = ANY(%s) GROUP BY 1
"""


def _by_guests(variant_ids: set[int]) -> dict[int, int]:
    """Units of each of these variants that guests hold unpaid."""
    if not variant_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_BY_GUESTS, [fast.array(variant_ids)])
        return dict.fromkeys(variant_ids, 0) | dict(cursor.fetchall())


# --- for the operations page -------------------------------------------------------------------


class Totals(NamedTuple):
    """Units held unpaid: by all guests, and by the address that holds the most."""

    by_guests: int
    at_one_address: int


_TOTALS = f"""
    SELECT coalesce(sum(units) FILTER (WHERE is_guest), 0),
        coalesce(max(units_at_address) FILTER (WHERE address_key IS NOT NULL), 0)
    FROM (
        SELECT line.units, buyer.is_guest, job.address_key,
            sum(line.units) OVER (PARTITION BY job.address_key) AS units_at_address
        FROM {_HOLDING} JOIN shop_user buyer ON buyer.id = job.owner_id
        WHERE job.state IN ({in_sql(OPEN)})
    ) AS held
"""


def totals() -> Totals:
    """Reads all open checkouts, by a partial index."""
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS)
        by_guests, at_one_address = cursor.fetchone()
    return Totals(int(by_guests), int(at_one_address))


def refused(*, since: datetime) -> int:
    """The number of checkouts posted since then that these limits refused."""
    recent = CheckoutJob.objects.filter(created_at__gte=since)
    return recent.filter(error_code__in=REFUSALS).count()
