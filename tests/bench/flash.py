"""A flash sale: many buyers, one variant, few units."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from tests.bench.figures import Raw, cost_of, latency_ms
from tests.bench.shops import Shop, wait_until_none
from tests.bench.wire import send_all

CONNECTIONS = 64
UNITS = 100


def flash(shop: Shop, *, buyers: int) -> Raw:
    """`buyers` want one of `UNITS` units each, `CONNECTIONS` of them at a time."""
    shop.flash_stock(UNITS)
    posts = [buyer.post for buyer in shop.make_buyers(buyers, flash=True)]
    shop.gateway.set_up(shop_port=shop.port, delay_ms=0)
    with shop.meter.measure() as used:
        started = time.perf_counter()
        replies = asyncio.run(send_all(shop.port, posts, connections=CONNECTIONS))
        posted = time.perf_counter()
        wait_until_none(shop.undecided, every_seconds=0.02)
        decided = time.perf_counter()
    accepted = [reply.json()["id"] for reply in replies if reply.status < 300]
    states = Counter(progress.state for progress in shop.progress(accepted))
    return {
        "buyers": buyers,
        "units": UNITS,
        "sold": states["awaiting_payment"],
        "refused": states["failed"] + sum(reply.status == 409 for reply in replies),
        "errors": sum(reply.status >= 300 and reply.status != 409 for reply in replies),
        "posts_seconds": posted - started,
        "decided_seconds": decided - started,
        "post_ms": latency_ms([reply.seconds for reply in replies]),
        **cost_of(used, buyers),
    }
