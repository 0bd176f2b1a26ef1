"""Reads the bodies of Razorpay's webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from shop.payments.gateway import GatewayReport
from shop.payments.inbox import Reading
from shop.payments.razorpay.entities import UNREADABLE, dispute_fact, payment_fact, refund_fact

Fact = TypeVar("Fact")


def read(body: bytes) -> Reading:
    """
    Read an event tolerantly: never raises; unknown events and fields are ignored.

    Each entity in it is a report about that entity, whatever the event's name is. An unreadable
    entity hides no other.
    """
    try:
        event = json.loads(body)
        name = _storable(str(event["event"]))
        payload = dict(event.get("payload") or {})
    except (*UNREADABLE, RecursionError) as error:
        return Reading(problem=repr(error))
    problems: list[str] = []
    report = GatewayReport(
        payments=_read_all(payload, "payment", payment_fact, problems),
        refunds=_read_all(payload, "refund", refund_fact, problems),
        disputes=_read_all(payload, "dispute", dispute_fact, problems),
    )
    if name == "payment.dispute.action_required":  # the entity itself does not say so
        disputes = (replace(fact, status="action_required") for fact in report.disputes)
        report = replace(report, disputes=tuple(disputes))
    return Reading(name, report, "; ".join(problems), _receipt_in(payload))


def _receipt_in(payload: dict[str, Any]) -> str:
    """The receipt of the order entity; empty if there is none that can be read."""
    try:
        receipt = payload["order"]["entity"]["receipt"]
    except UNREADABLE:
        return ""
    return _storable(receipt) if isinstance(receipt, str) else ""


def _read_all(
    payload: dict[str, Any],
    kind: str,
    read_entity: Callable[[dict[str, Any]], Fact],
    problems: list[str],
) -> tuple[Fact, ...]:
    try:
        return (read_entity(payload[kind]["entity"]),) if kind in payload else ()
    except UNREADABLE as error:
        problems.append(f"{kind}: {error!r}")
        return ()


def body_of(kind: str, entity: Any) -> bytes:
    """A body that `read` reads as a report about this entity of a list."""
    event = {"event": "poll", "payload": {kind: {"entity": entity}}}
    return json.dumps(event, separators=(",", ":")).encode()


# --- names in a body that `read` failed on -------------------------------------------------------


def order_named_in(body: bytes) -> str:
    """The Razorpay order of an event; empty if it names none. Never raises."""
    return _named_in(body, "payment", "order_id")


def payments_named_in(body: bytes) -> set[str]:
    """The payments of an event. Never raises."""
    fields = (("payment", "id"), ("refund", "payment_id"), ("dispute", "payment_id"))
    return {_named_in(body, kind, name) for kind, name in fields} - {""}


def _named_in(body: bytes, kind: str, name: str) -> str:
    try:
        named = json.loads(body)["payload"][kind]["entity"][name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return _storable(named) if isinstance(named, str) else ""


def _storable(text: str) -> str:
    """The part of `text` that a column can hold. JSON can hold invalid characters."""
    return text[:64].replace("\x00", "").encode("utf-8", "replace").decode()
