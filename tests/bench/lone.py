"""The waiting time of one buyer without any other load."""

from __future__ import annotations

import asyncio

from tests.bench.figures import Raw, cost_of, demand, latency_ms
from tests.bench.shops import Buyer, Shop
from tests.bench.wire import Client, Reply

LOOK_SECONDS = 0.01  # long enough to cost little CPU


def lone(shop: Shop, *, count: int, delay_ms: int) -> Raw:
    """Post `count` checkouts, each after the previous one is payable. Times are from the rows."""
    buyers = shop.make_buyers(count)
    shop.gateway.set_up(shop_port=shop.port, delay_ms=delay_ms)
    with shop.meter.measure() as used:
        replies = asyncio.run(_one_by_one(shop, buyers))
    demand(replies, 200, 201, 202)
    found = shop.progress([reply.json()["id"] for reply in replies])
    waited = [
        progress.payable_at.timestamp() - progress.created_at.timestamp()
        for progress in found
        if progress.payable_at
    ]
    return {
        "count": count,
        "gateway_delay_ms": delay_ms,
        "post_ms": latency_ms([reply.seconds for reply in replies]),
        "post_to_payable_ms": latency_ms(waited),
        **cost_of(used, count),
    }


async def _one_by_one(shop: Shop, buyers: list[Buyer]) -> list[Reply]:
    client = Client(shop.port)
    replies = []
    for buyer in buyers:
        replies.append(await client.ask(buyer.post))
        while shop.undecided():
            await asyncio.sleep(LOOK_SECONDS)
    client.close()
    return replies
