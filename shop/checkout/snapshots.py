"""
All that the status of a checkout shows, read by one statement.

The SQL is written by hand because storefronts read the status more often than anything else:
through the ORM the same rows took four queries and four times the CPU (docs/decisions/speed.md).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import WITH_MONEY, State, in_sql
from shop.db import fast

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class StatusHead:
    """Enough to tell whether the storefront has this version, and when it should poll again."""

    state: State
    version: int
    created_at: datetime
    updated_at: datetime
    returned_at: datetime | None


@dataclass(frozen=True, slots=True)
class TransitionView:
    old: str
    new: str
    because: str
    attempts: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RefundView:
    """
    A refund, in minor units of `currency`. A failed one is included while its case is open.
    `reference`: an id that the buyer's bank can trace.
    """

    status: str
    amount_paise: int
    currency: str
    reference: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class FailedPayment:
    """Why the buyer's latest payment failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Fields as in the tables, in the order of the columns of `_READ`."""

    id: uuid.UUID
    state: State
    version: int
    created_at: datetime
    updated_at: datetime
    returned_at: datetime | None
    cart_id: int
    items_count: int
    amount_paise: int
    currency: str
    attempts: int
    waiting_for: str
    expires_at: datetime | None
    error_code: str
    error_message: str
    buyer_name: str
    buyer_email: str
    buyer_phone: str
    order_number: str | None
    gateway_order_id: str | None
    gateway_amount_paise: int | None
    error_details: dict[str, Any]
    transitions: tuple[TransitionView, ...]
    failed_payment: FailedPayment | None
    refunds: tuple[RefundView, ...]


# A failed payment is shown only while the checkout awaits payment; refunds follow money.
_READ = f"""
    SELECT job.id, job.state, job.version, job.created_at, job.updated_at, job.returned_at,
        job.cart_id, job.items_count, job.amount_paise, job.currency, job.attempts,
        job.waiting_for, job.expires_at, job.error_code, job.error_message,
        job.shipping_address->>'name', job.email, job.shipping_address->>'phone',
        placed.number, payable.gateway_order_id, payable.amount_paise, job.error_details,
        (
            SELECT jsonb_agg(jsonb_build_array(old, new, because, attempts, at) ORDER BY id)
            FROM shop_transition WHERE job_id = job.id
        ),
        CASE WHEN job.state = '{State.AWAITING_PAYMENT}' THEN (
            SELECT jsonb_build_array(payment.error_code, payment.error_description)
            FROM shop_payment payment JOIN shop_gatewayorder at_gateway
                ON payment.gateway_order_id = at_gateway.id
            WHERE at_gateway.order_id = job.order_id AND payment.status = 'failed'
            ORDER BY payment.id DESC LIMIT 1
        ) END,
        CASE WHEN job.state IN ({in_sql(WITH_MONEY)}) THEN (
            SELECT jsonb_agg(jsonb_build_array(refund.status, refund.amount_paise, payment.currency,
                coalesce(refund.gateway_refund_id, payment.gateway_payment_id), refund.updated_at
            ) ORDER BY refund.id)
            FROM shop_refund refund JOIN shop_payment payment ON refund.payment_id = payment.id
            JOIN shop_gatewayorder at_gateway ON payment.gateway_order_id = at_gateway.id
            WHERE at_gateway.order_id = job.order_id AND (refund.status <> 'failed' OR EXISTS (
                SELECT FROM shop_case WHERE kind = 'refund_failed' AND reference = refund.key
                    AND closed_at IS NULL))
        ) END
    FROM shop_checkoutjob job
    LEFT JOIN shop_order placed ON placed.id = job.order_id
    LEFT JOIN shop_gatewayorder payable
        ON payable.order_id = job.order_id AND NOT payable.is_duplicate
    WHERE job.id = ANY(%s) AND job.owner_id = %s
"""

_HEAD = """
    SELECT state, version, created_at, updated_at, returned_at
    FROM shop_checkoutjob WHERE id = %s AND owner_id = %s
"""


def read_head(job_id: uuid.UUID, *, owner_id: int) -> StatusHead:
    """:raises CheckoutJob.DoesNotExist: no checkout of this buyer."""
    with connection.cursor() as cursor:
        cursor.execute(_HEAD, [job_id, owner_id])
        row = cursor.fetchone()
    if row is None:
        raise CheckoutJob.DoesNotExist
    return StatusHead(State(row[0]), *row[1:])


def read(job_id: uuid.UUID, *, owner_id: int) -> Snapshot:
    """:raises CheckoutJob.DoesNotExist: no checkout of this buyer."""
    found = read_all([job_id], owner_id=owner_id)
    if not found:
        raise CheckoutJob.DoesNotExist
    return found[0]


def of_new(job: CheckoutJob) -> Snapshot:
    """What `read` would find of a checkout that was just inserted, without a query."""
    return Snapshot(
        id=job.pk,
        state=State(job.state),
        version=job.version,
        created_at=job.created_at,
        updated_at=job.updated_at,
        returned_at=None,
        cart_id=job.cart_id,
        items_count=job.items_count,
        amount_paise=job.amount_paise,
        currency=job.currency,
        attempts=0,
        waiting_for="",
        expires_at=None,
        error_code="",
        error_message="",
        buyer_name=job.shipping_address["name"],
        buyer_email=job.email,
        buyer_phone=job.shipping_address["phone"],
        order_number=None,
        gateway_order_id=None,
        gateway_amount_paise=None,
        error_details={},
        transitions=(),
        failed_payment=None,
        refunds=(),
    )


def read_all(job_ids: Collection[uuid.UUID], *, owner_id: int) -> list[Snapshot]:
    """The buyer's checkouts among these ids, in the order given."""
    with connection.cursor() as cursor:
        cursor.execute(_READ, [fast.array(job_ids), owner_id])
        found = {row[0]: _snapshot(row) for row in cursor.fetchall()}
    return [found[job_id] for job_id in job_ids if job_id in found]


def _snapshot(row: tuple[Any, ...]) -> Snapshot:
    job_id, state, *others, details, transitions, failed, refunds = row
    in_json = (
        json.loads(details),
        tuple(_with_time(TransitionView, columns) for columns in json.loads(transitions or "[]")),
        FailedPayment(*json.loads(failed)) if failed else None,
        tuple(_with_time(RefundView, columns) for columns in json.loads(refunds or "[]")),
    )
    return Snapshot(*(job_id, State(state), *others, *in_json))


def _with_time(kind: Callable[..., Part], columns: list[Any]) -> Part:
    """Build `kind` from columns of which the last is a time, in JSON a text."""
    columns[-1] = datetime.fromisoformat(columns[-1])
    return kind(*columns)
