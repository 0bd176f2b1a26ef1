"""The shop's workers, run in one thread, and their crashes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection
from hypothesis import strategies as st

from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.expire import EXPIRE
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments.gateway import GatewayError
from shop.payments.razorpay.client import RazorpayGateway
from tests.support.standin import StandIn

LOCAL = {
    "validate_cart": VALIDATE_CART,
    "create_order": CREATE_ORDER,
    "reconcile_webhook": ReconcileWebhook(),
    "expire": EXPIRE,
}
REMOTE = {
    "create_razorpay_order": CreateRazorpayOrder(),
    "check_payments": CheckPayments(),
    "capture": CapturePayments(),
    "send_refunds": SendRefunds(),
}
STEP_OF = {
    State.QUEUED: "validate_cart",
    State.VALIDATED: "create_order",
    State.ORDERED: "create_razorpay_order",
    State.AWAITING_PAYMENT: "expire",
}

# Where the first worker of a step crashes: before its nth write or after its nth call, from 0.
BEFORE_A_WRITE = st.tuples(st.just("before a write"), st.integers(0, 9))
AFTER_A_CALL = st.tuples(st.just("after a call"), st.integers(0, 1))
CRASHES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(LOCAL, BEFORE_A_WRITE),
        **dict.fromkeys(REMOTE, BEFORE_A_WRITE | AFTER_A_CALL),
    },
)

_DUE = """
    SELECT DISTINCT state FROM shop_checkoutjob WHERE due_at <= %(now)s
    UNION ALL SELECT 'reconcile_webhook'
        WHERE EXISTS (SELECT 1 FROM shop_inboxevent WHERE due_at <= %(now)s)
    UNION ALL SELECT 'check_payments'
        WHERE EXISTS (SELECT 1 FROM shop_gatewayorder WHERE poll_at <= %(now)s)
    UNION ALL SELECT 'capture'
        WHERE EXISTS (SELECT 1 FROM shop_payment WHERE capture_at <= %(now)s)
    UNION ALL SELECT 'send_refunds'
        WHERE EXISTS (SELECT 1 FROM shop_refund WHERE due_at <= %(now)s)
"""


def due(now: datetime) -> list[str]:
    """The steps that have something to do."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"now": now})
        found = [name for (name,) in cursor.fetchall()]
    order = [*LOCAL, *REMOTE]
    return sorted((STEP_OF.get(name, name) for name in found), key=order.index)


class Crash(BaseException):
    """Stands for the end of the process. No code of the shop catches it."""


WRITES = re.compile(r"\s*(WITH\b.*?\b)?(INSERT INTO|UPDATE|DELETE FROM)\s", re.DOTALL)


@contextlib.contextmanager
def crash_before_write(number: int) -> Iterator[None]:
    """Crash before the nth statement that writes, counted from 0."""
    left = number

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal left
        if WRITES.match(sql):
            if left == 0:
                raise Crash
            left -= 1
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        yield


class CrashingGateway:
    """Crashes when the nth call is answered, counted from 0, and makes no further call."""

    def __init__(self, gateway: Any, number: int) -> None:
        self._gateway = gateway
        self._left = number

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._gateway, name)

        def call(**about: Any) -> Any:
            if self._left < 0:
                raise Crash
            with contextlib.suppress(GatewayError if self._left == 0 else ()):
                self._left -= 1
                answer = method(**about)
                if self._left >= 0:
                    return answer
            raise Crash

        return call


class RecordingGateway:
    """The gateway. Records the ids of payments that the shop itself captured."""

    def __init__(self, gateway: RazorpayGateway, standin: StandIn) -> None:
        self._gateway = gateway
        self._standin = standin
        self.captured_by_us: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._gateway, name)
        return method

    def capture(self, *, gateway_payment_id: str, **about: Any) -> Any:
        path = f"payments/{gateway_payment_id}"
        was_captured = self._standin.call("GET", path)["captured"]
        try:
            return self._gateway.capture(gateway_payment_id=gateway_payment_id, **about)
        finally:
            if not was_captured and self._standin.call("GET", path)["captured"]:
                self.captured_by_us.add(gateway_payment_id)


LOCK_TIMEOUT = "50ms"


@contextlib.contextmanager
def locked_rows(table: str, column: str, ids: list[Any]) -> Iterator[None]:
    """
    Lock these rows in another session. Ours waits `LOCK_TIMEOUT` for a lock, not ten seconds.
    """
    parameters = connection.get_connection_params()
    for ours in ("cursor_factory", "context"):
        parameters.pop(ours, None)
    with psycopg.connect(**parameters) as other:
        other.execute(f"SELECT 1 FROM {table} WHERE {column} = ANY(%s) FOR UPDATE", [ids])
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        try:
            yield
        finally:
            other.rollback()
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
