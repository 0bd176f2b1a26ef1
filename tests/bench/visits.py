"""
Whole purchases: buyers post, poll, pay, and poll until the checkout is paid.

They poll as the client library does: first after `poll.after_ms` of the POST, each pause up to a
fifth longer than asked, doubled on a 304 up to `Retry-After`, and at once after the form closes.
The gateway sends its webhook at once; the form closes after `RETURNS_AFTER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.bench.figures import Raw, cost_of, demand, latency_ms
from tests.bench.shops import BenchError, Buyer, Shop, wait_until_none
from tests.bench.wire import Client, encode

BUYERS = 16
RETURNS_AFTER_SECONDS = 0.3
JITTER = 0.2
MAX_LOOKS = 200


@dataclass
class Log:
    """Times of all buyers."""

    posts: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    to_payable: list[float] = field(default_factory=list)  # as the buyer sees them
    to_paid: list[float] = field(default_factory=list)  # since the form closed


def visits(shop: Shop, *, count: int, delay_ms: int) -> Raw:
    """`count` paid checkouts by `BUYERS` at a time; the gateway takes `delay_ms` a call."""
    buyers = shop.make_buyers(count)
    shop.gateway.set_up(shop_port=shop.port, delay_ms=delay_ms)
    log = Log()
    with shop.meter.measure() as used:
        asyncio.run(_all(shop, iter(buyers), log))
        wait_until_none(shop.events_waiting)
    return {
        "count": count,
        "gateway_delay_ms": delay_ms,
        "paid_per_second": count / used.seconds,
        "status_reads": len(log.looks) / count,
        "post_ms": latency_ms(log.posts),
        "status_read_ms": latency_ms(log.looks),
        "post_to_payable_seen_ms": latency_ms(log.to_payable),
        "return_to_paid_seen_ms": latency_ms(log.to_paid),
        **cost_of(used, count),
    }


async def _all(shop: Shop, buyers: Iterator[Buyer], log: Log) -> None:
    async def one_after_the_other() -> None:
        client, gateway = Client(shop.port), Client(shop.gateway.port)
        for buyer in buyers:
            await _visit(client, gateway, buyer, log)
        client.close()
        gateway.close()

    await asyncio.gather(*(one_after_the_other() for _ in range(BUYERS)))


async def _visit(client: Client, gateway: Client, buyer: Buyer, log: Log) -> None:
    started = time.perf_counter()
    reply = await client.ask(buyer.post)
    demand([reply], 200, 201, 202)
    log.posts.append(reply.seconds)
    checkout = await _look_until("awaiting_payment", client, buyer, reply.json(), log)
    log.to_payable.append(time.perf_counter() - started)
    pay = json.dumps({"order_id": checkout["payment"]["razorpay_order_id"]}).encode()
    paid = await gateway.ask(encode("POST", "/bench/pay", body=pay))
    demand([paid], 200)
    await asyncio.sleep(RETURNS_AFTER_SECONDS)
    started = time.perf_counter()
    checkout["poll"] = {"after_ms": 0, "done": False}  # poll at once
    await _look_until("paid", client, buyer, checkout, log)
    log.to_paid.append(time.perf_counter() - started)


async def _look_until(
    status: str, client: Client, buyer: Buyer, checkout: dict[str, Any], log: Log
) -> dict[str, Any]:
    tag, pause_ms = "", checkout["poll"]["after_ms"]
    for _ in range(MAX_LOOKS):
        if checkout["status"] == status:
            return checkout
        await asyncio.sleep(pause_ms / 1000 * (1 + JITTER * random.random()))
        reply = await client.ask(buyer.read(checkout["id"], tag=tag))
        demand([reply], 200, 304)
        log.looks.append(reply.seconds)
        if reply.status == 304:
            longest_ms = 1000 * float(reply.header("Retry-After") or 0)
            pause_ms = max(pause_ms, min(2 * pause_ms, longest_ms))
            continue
        tag, checkout = reply.header("ETag"), reply.json()
        pause_ms = checkout["poll"]["after_ms"]
    raise BenchError(f"{status} was not reached in {MAX_LOOKS} polls: {checkout}")
