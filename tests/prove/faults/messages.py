"""Messages in the queues that no process of the shop has sent."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.prove.environment import Environment
from tests.prove.faults.registry import FaultContext, fault


def message(task: str, kwargs: Any, args: Any = ()) -> dict[str, Any]:
    """A message as Celery writes it to a Redis list."""
    body = json.dumps([list(args), kwargs, {"callbacks": None, "errbacks": None}])
    task_id = str(uuid.uuid4())
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py", "task": task, "id": task_id, "root_id": task_id, "parent_id": None,
            "argsrepr": repr(args), "kwargsrepr": repr(kwargs), "retries": 0, "eta": None,
        },
        "properties": {
            "correlation_id": task_id, "reply_to": "", "delivery_mode": 2, "priority": 0,
            "delivery_tag": str(uuid.uuid4()), "body_encoding": None,
            "delivery_info": {"exchange": "", "routing_key": "checkout"},
        },
    }  # fmt: skip


def push(env: Environment, queue: str, *messages: Any) -> None:
    with env.redis() as redis:
        for content in messages:
            redis.lpush(queue, content if isinstance(content, bytes) else json.dumps(content))


QUEUES = {
    "checkout": ("checkout.validate_cart", "checkout.create_order"),
    "gateway": ("checkout.create_razorpay_order", "payments.check_payments"),
    "webhooks": ("payments.reconcile_webhook",),
}


@fault("queues")
def queue_of_foreign_messages(context: FaultContext) -> str:
    """Unknown tasks, arguments of other versions, unknown ids, and many repeated notifications."""
    count = 0
    for queue, tasks in QUEUES.items():
        foreign = [
            message("checkout.no_such_task", {"checkout_id": str(uuid.uuid4())}),
            message("shop.tasks.removed_long_ago", {}),
            *(message(task, {"checkout_id": str(uuid.uuid4())}) for task in tasks),
            *(message(task, {}) for task in tasks),
            *(message(task, {"checkout_id": None, "added_later": [1]}) for task in tasks),
            *(message(task, {"checkout_id": "nobody", "event_id": "x" * 5000}) for task in tasks),
            *(message(task, {}, args=("by", "position")) for task in tasks),
            *(message(task, "no mapping") for task in tasks),
            *[message(task, {}) for task in tasks] * 100,
        ]
        context.rng.shuffle(foreign)
        push(context.env, queue, *foreign)
        count += len(foreign)
    return f"{count} messages"


@fault("queues")
def queue_with_undecodable_message(context: FaultContext) -> str:
    """A message that Celery cannot have sent: no JSON, another shape, an undecodable body."""
    broken = message("checkout.validate_cart", {})
    broken["body"] = "{not json"
    foreign = message("checkout.validate_cart", {}) | {"content-type": "application/x-pickle"}
    without_headers = {"body": "e30=", "properties": {}}
    undecodable: list[Any] = [
        b"\xff\xfe no text",
        b"not json",
        b"[]",
        b"7",
        broken,
        foreign,
        without_headers,
    ]
    queue = context.rng.choice(list(QUEUES))
    one = context.rng.choice(undecodable)
    push(context.env, queue, one)
    return f"{queue}: {one!r:.40}"
