"""Faults of Razorpay: its API and its webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.prove.environment import Environment
from tests.prove.faults.registry import FaultContext, fault
from tests.prove.stream import Buyer


@contextmanager
def gateway_faults(env: Environment, *faults: dict[str, Any]) -> Iterator[None]:
    env.gateway_faults(*({"count": None, **fault} for fault in faults))
    try:
        yield
    finally:
        env.gateway_faults()


@fault("gateway")
def gateway_frozen(context: FaultContext) -> str:
    """Freeze it: it accepts connections, and answers requests when it is thawed."""
    context.env.stack.freeze("standin")
    try:
        return f"{context.pause(1, 4):.1f} s"
    finally:
        context.env.stack.thaw("standin")


@fault("gateway")
def gateway_resets(context: FaultContext) -> str:
    when = context.rng.choice(("before", "after"))
    with gateway_faults(context.env, {"kind": "reset", "when": when, "rate": 0.8}):
        return f"{when} the work, {context.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_hangs(context: FaultContext) -> str:
    when = context.rng.choice(("before", "after"))
    with gateway_faults(context.env, {"kind": "hang", "when": when, "rate": 0.6}):
        return f"{when} the work, {context.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_answers_too_late(context: FaultContext) -> str:
    """It does the work after the shop's timeout: an order is created without an answer."""
    with gateway_faults(context.env, {"kind": "stall", "seconds": 3, "rate": 0.6}):
        return f"{context.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_slow(context: FaultContext) -> str:
    with gateway_faults(context.env, {"kind": "stall", "seconds": 1}):
        return f"a second each, {context.pause(2, 4):.1f} s"


@fault("gateway")
def gateway_refuses_for_a_while(context: FaultContext) -> str:
    retry_after = context.rng.choice((1, 2, None))
    limited = {"kind": "too_many_requests", "rate": 0.8, "retry_after_seconds": retry_after}
    with gateway_faults(context.env, limited):
        return f"429, Retry-After {retry_after}, {context.pause(1, 3):.1f} s"


@fault("gateway")
def gateway_errors(context: FaultContext) -> str:
    when = context.rng.choice(("before", "after"))
    kinds = ("server_error", "bad_gateway", "gateway_timeout")
    faults = [{"kind": kind, "when": when, "rate": 0.25} for kind in kinds]
    faults.append({"kind": "operation_in_progress", "rate": 0.25})  # without doing the work
    with gateway_faults(context.env, *faults):
        return f"{when} the work, {context.pause(1, 4):.1f} s"


@fault("gateway")
def gateway_answers_malformed(context: FaultContext) -> str:
    """It does the work; its answer is truncated, very slow, HTML, or JSON of a wrong shape."""
    faults = [
        {"kind": "truncated_body", "rate": 0.2},
        {"kind": "slow_body", "seconds": 3, "rate": 0.2},
        {"kind": "answer", "when": "after", "status": 200, "body": "<html>hello", "rate": 0.2},
        {"kind": "answer", "when": "after", "status": 200, "body": '{"items": 7}', "rate": 0.2},
        {"kind": "answer", "when": "after", "status": 200, "body": "[]", "rate": 0.2},
    ]
    with gateway_faults(context.env, *faults):
        return f"{context.pause(1, 4):.1f} s"


@fault("gateway")
def order_never_answered(context: FaultContext) -> str:
    """Answer polls of one unpaid order with 500 until the next check."""
    buyer = Buyer(context.stream, context.rng)
    buyer.arrive()
    buyer.fill([context.rng.choice(context.stream.variants)], quantity=1)
    checkout = buyer.post()
    if not buyer.payable(checkout):
        return f"none: {checkout.status}"
    [gateway_order_id] = checkout.razorpay_order_ids
    context.env.fail_polls_of(gateway_order_id)
    context.stream.journal.reach("an order whose polls all fail")
    return str(gateway_order_id)


@contextmanager
def webhook_script(env: Environment, **script: Any) -> Iterator[None]:
    env.standin("PATCH", "script", script)
    try:
        yield
    finally:
        env.standin("DELETE", "script")


@fault("webhooks")
def webhooks_lost(context: FaultContext) -> str:
    """Drop all webhooks for good. Buyers make no second payment during this time."""
    with context.stream.events_arrive, webhook_script(context.env, drop_all=True):
        return f"{context.pause(2, 5):.1f} s"


@fault("webhooks")
def webhooks_repeated_and_shuffled(context: FaultContext) -> str:
    with webhook_script(context.env, copies=3, order="shuffled"):
        return f"{context.pause(2, 5):.1f} s"


@fault("webhooks")
def webhooks_late_and_reversed(context: FaultContext) -> str:
    with webhook_script(context.env, delay_seconds=8, order="reversed"):
        return f"{context.pause(2, 5):.1f} s"
