"""Webhook bodies as Razorpay sends them, made from entities of the stand-in."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any

from shop.payments import inbox

_serial = itertools.count(1)


def event_body(name: str, payment: dict[str, Any]) -> bytes:
    entity = {key: value for key, value in payment.items() if key != "checkout"}
    event = {
        "entity": "event",
        "account_id": "acc_standin",
        "event": name,
        "contains": ["payment"],
        "payload": {"payment": {"entity": entity}},
        "created_at": 1763793000,
    }
    return json.dumps(event, separators=(",", ":")).encode()


def deliver(payment: dict[str, Any], *, name: str = "", now: datetime, **changes: Any) -> str:
    """Put an event about `payment`, with `changes` to the entity, into the inbox. Its id."""
    body = event_body(name or f"payment.{payment['status']}", payment | changes)
    event_id = f"Event{next(_serial):09d}"
    inbox.receive(event_id=event_id, body=body, now=now)
    return event_id
