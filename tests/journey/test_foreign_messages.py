"""The real worker drops messages that the shop has not sent."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from redis import Redis

from tests.support.buyers import until
from tests.support.running_shop import RunningShop

QUEUE = "checkout"
TASK = "checkout.validate_cart"
GOOD = [[], {}, {}]


def message(body: Any, task: Any = TASK, **changes: Any) -> bytes:
    """A message as kombu writes it to a list in Redis, with some fields changed."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    delivery = {"exchange": "", "routing_key": QUEUE}
    envelope = {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": str(uuid.uuid4())},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": delivery,
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    return json.dumps(envelope | changes).encode()


def with_headers(**headers: Any) -> bytes:
    return message(GOOD, headers={"task": TASK, "id": str(uuid.uuid4())} | headers)


def with_properties(**properties: Any) -> bytes:
    valid = json.loads(message(GOOD))["properties"]
    return message(GOOD, properties=valid | properties)


FOREIGN = {
    "no entry of kombu's": b"\xff garbage",
    "null": b"null",
    "a list": b"[1, 2]",
    "deeper than Python follows": b"[" * 100_000,
    "an empty object": b"{}",
    "no delivery tag": message(GOOD, properties={}),
    "a delivery tag that is null": with_properties(delivery_tag=None),
    "a delivery tag that is an object": with_properties(delivery_tag={}),
    "a delivery tag that is true": with_properties(delivery_tag=True),
    "a delivery tag that is not text": with_properties(delivery_tag="\ud800"),
    "a queue that is a number": with_properties(delivery_info=5),
    "headers that are a list": message(GOOD, headers=[1]),
    "application/data without a task": message(
        b"hello", headers={}, **{"content-type": "application/data", "content-encoding": "binary"}
    ),
    "bytes that are not text": message(b"\xff\xfe", headers={}),
    "pickle": message(b"\x80\x04N.", **{"content-type": "application/x-python-serialize"}),
    "a body that is not compressed as its header says": message(
        GOOD, headers={"task": TASK, "id": "1", "compression": "zip"}
    ),
    "no content type": message(GOOD, headers={}, **{"content-type": None}),
    "an unknown task": message(GOOD, "nothing.at_all"),
    "a task that is a list": message(GOOD, ["x"]),
    "no task": message(GOOD, None),
    "no id": message(GOOD, headers={"task": TASK}),
    "a body that is an object": message({"a": 1}),
    "a body that is a number": message(5),
    "a body that is not JSON": message(b"not json"),
    "keyword arguments that are a list": message([[], [1], {}]),
    "arguments by position": message([[1], {}, {}]),
    "a time to run that is no time": with_headers(eta="yesterday"),
    "a time to run in the far future": with_headers(eta="2999-01-01T00:00:00+00:00"),
    "an expiry that is no time": with_headers(expires="yesterday"),
    "an id that is a number": with_headers(id=5),
    "a task of Celery itself": message(GOOD, "celery.accumulate"),
    "tasks that follow": message([[], {}, {"chain": [{"task": TASK}], "errbacks": [1]}]),
    "options that are a list": message([[], {}, [1]]),
    "options that are text": message([[], {}, "x"]),
    "no options": message([[], {}, None]),
    "the first protocol of Celery": message(
        {"task": TASK, "id": "1", "args": [], "kwargs": {}}, headers={}
    ),
}
STRANGE = {
    "an argument of a later version": message([[], {"added_later": 1}, {}]),
    "an argument of another type": message([[], {"checkout_id": {"a": [1]}}, {}]),
    "an argument with a zero byte": message([[], {"checkout_id": "\0"}, {}]),
    "a time limit that is no number": with_headers(timelimit="x"),
    "another name that is an object": with_headers(shadow={"x": 1}),
    "another name that is a list": with_headers(shadow=[1]),
    "another name that is a number": with_headers(shadow=5),
    "stamps that are a number": with_headers(stamped_headers=5, stamps=7),
    "stamps that are a list": with_headers(stamped_headers=["a"], stamps=[1]),
    "retries that are text": with_headers(retries="x"),
}


def test_a_message_that_is_not_ours_is_dropped_and_counted_and_ends_no_worker(
    running_shop: RunningShop,
):
    redis = Redis.from_url(running_shop.stack.services.redis_url)
    worker = running_shop.stack.pids("worker")

    def counted() -> float:
        return running_shop.metrics()["pakka_foreign_messages_total", ""]

    def is_drained() -> bool:
        return not redis.llen(QUEUE) and not redis.hlen("unacked")

    before = counted()
    redis.lpush(QUEUE, *FOREIGN.values())
    until(lambda: counted() >= before + len(FOREIGN))
    for strange in STRANGE.values():
        redis.lpush(QUEUE, strange)

    until(is_drained)
    assert running_shop.stack.pids("worker") == worker
    assert counted() == before + len(FOREIGN)
    [buyer] = running_shop.arrive(1)
    buyer.wait(buyer.post(), "awaiting_payment")
