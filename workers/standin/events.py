"""The bodies of webhooks: a snapshot of the records at the time of the event."""

import json
from typing import Any

from workers.standin.behaviour import Behaviour
from workers.standin.entities import (
    Entity,
    dispute_entity,
    order_entity,
    payment_entity,
    refund_entity,
)
from workers.standin.records import Dispute, Payment, Refund

ACCOUNT_ID = "acc_Standin0000000"


def event_body(
    name: str,
    payment: Payment,
    subject: Refund | Dispute | None,
    *,
    created_at: float,
    behaviour: Behaviour,
) -> bytes:
    """The bytes of a webhook, which are signed once and repeated unchanged."""
    payload = {key: {"entity": entity} for key, entity in _entities(name, payment, subject).items()}
    body = {
        "entity": "event",
        "account_id": ACCOUNT_ID,
        "event": name,
        "contains": list(payload),
        "payload": payload,
        "created_at": int(created_at),
    }
    return _encoded(body, behaviour)


def _entities(name: str, payment: Payment, subject: Refund | Dispute | None) -> dict[str, Entity]:
    shown = payment_entity(payment)
    if isinstance(subject, Refund):
        return {"refund": refund_entity(subject), "payment": shown}
    if isinstance(subject, Dispute):
        return {"payment": shown, "dispute": dispute_entity(subject)}
    if name == "payment.captured":
        shown |= {"base_amount": payment.amount_paise, "reward": None}
    if name == "order.paid":
        order = order_entity(payment.order) | {"description": None, "checkout": None}
        return {"payment": shown | {"reward": None}, "order": order}
    return {"payment": shown}


def _encoded(body: dict[str, Any], behaviour: Behaviour) -> bytes:
    text = json.dumps(
        body,
        separators=(",", ":"),
        ensure_ascii=behaviour.webhook_escaped,
        sort_keys=behaviour.webhook_sorted_keys,
    )
    if behaviour.webhook_escaped:
        text = text.replace("/", "\\/")
    return text.encode()
