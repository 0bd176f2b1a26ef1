"""Webhook bodies as Razorpay sends them, from entities of the stand-in."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any

from shop.payments import inbox

_serial = itertools.count(1)


def event_body(name: str, payment: dict[str, Any], **beside: dict[str, Any]) -> bytes:
    """The bytes of an event about `payment`, with other entities (refund, dispute)."""
    entity = {key: value for key, value in payment.items() if key != "checkout"}
    payload = {"payment": {"entity": entity}} | {
        kind: {"entity": other} for kind, other in beside.items()
    }
    event = {
        "entity": "event",
        "account_id": "acc_standin",
        "event": name,
        "contains": list(payload),
        "payload": payload,
        "created_at": 1763793000,
    }
    return json.dumps(event, separators=(",", ":")).encode()


def deliver(
    payment: dict[str, Any],
    *,
    name: str = "",
    now: datetime,
    refund: dict[str, Any] | None = None,
    dispute: dict[str, Any] | None = None,
    order: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Put an event about `payment`, changed by `changes`, into the inbox. Returns its id."""
    others = {"refund": refund, "dispute": dispute, "order": order}
    beside = {kind: entity for kind, entity in others.items() if entity}
    body = event_body(name or f"payment.{payment['status']}", payment | changes, **beside)
    event_id = f"Event{next(_serial):09d}"
    inbox.receive(event_id=event_id, body=body, now=now)
    return event_id
