"""What the body of a webhook from Razorpay says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from shop.payments.gateway import GatewayReport
from shop.payments.inbox import UNREADABLE, Reading
from shop.payments.razorpay.entities import NONSENSE, dispute_fact, payment_fact, refund_fact

Fact = TypeVar("Fact")


def read(body: bytes) -> Reading:
    """
    Read an event tolerantly: unknown events and fields are no error, and neither is nonsense.

    Whatever the event is called, each entity in it is a report about that entity; one that cannot
    be read does not hide the others.
    """
    try:
        event = json.loads(body)
        name = _as_text(str(event["event"]))
        payload = dict(event.get("payload") or {})
    except (*NONSENSE, RecursionError) as error:
        return Reading(problem=f"{UNREADABLE}: {error!r}")
    problems: list[str] = []
    gateway_report = GatewayReport(
        payments=_read_all(payload, "payment", payment_fact, problems),
        refunds=_read_all(payload, "refund", refund_fact, problems),
        disputes=_read_all(payload, "dispute", dispute_fact, problems),
    )
    if name == "payment.dispute.action_required":  # the entity does not say it
        wanted = (replace(fact, status="action_required") for fact in gateway_report.disputes)
        gateway_report = replace(gateway_report, disputes=tuple(wanted))
    problem = f"{UNREADABLE}: {'; '.join(problems)}" if problems else ""
    return Reading(name, gateway_report, problem, _receipt_in(payload))


def _receipt_in(payload: dict[str, Any]) -> str:
    """Only a hint: where it cannot be read, Razorpay is asked."""
    try:
        receipt = payload["order"]["entity"]["receipt"]
    except NONSENSE:
        return ""
    return _as_text(receipt) if isinstance(receipt, str) else ""


def _read_all(
    payload: dict[str, Any],
    kind: str,
    read_entity: Callable[[dict[str, Any]], Fact],
    problems: list[str],
) -> tuple[Fact, ...]:
    try:
        return (read_entity(payload[kind]["entity"]),) if kind in payload else ()
    except NONSENSE as error:
        problems.append(f"{kind}: {error!r}")
        return ()


def order_named_in(body: bytes) -> str:
    """Not through `read`: that may be what has just raised."""
    return _named_in(body, "payment", "order_id")


def payments_named_in(body: bytes) -> set[str]:
    """The payments that an event is about, though the rest of it cannot be read."""
    fields = (("payment", "id"), ("refund", "payment_id"), ("dispute", "payment_id"))
    return {_named_in(body, kind, name) for kind, name in fields} - {""}


def orders_named_in(body: bytes) -> set[str]:
    """The Razorpay orders that an event is about, alike: at most one."""
    return {order_named_in(body)} - {""}


def _named_in(body: bytes, kind: str, name: str) -> str:
    try:
        named = json.loads(body)["payload"][kind]["entity"][name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return _as_text(named) if isinstance(named, str) else ""


def _as_text(said: str) -> str:
    """As much of it as a column of ours takes. JSON can spell characters that are none."""
    return said[:64].replace("\x00", "").encode("utf-8", "replace").decode()
