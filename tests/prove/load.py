"""Load: a flash sale, thousands of polling pages, and a burst of webhooks."""

from __future__ import annotations

import hashlib
import heapq
import hmac
import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3

from tests.prove.checks import Finding
from tests.prove.environment import Environment
from tests.prove.plans import pays_and_confirms
from tests.prove.stream import Buyer, Json, KnownCheckout, Stream

AT_A_TIME = 64
POLLING_THREADS = 16
EVENTS_PER_SECOND = 50
COPIES = 3
BURST_THREADS = 8
SALE_SKU = "NTB-A6"  # seeded without units, so only bought in the sale
DECIDED = frozenset({"paid", "failed"})


@dataclass
class LoadResult:
    name: str
    what: str
    numbers: Json
    findings: list[Finding] = field(default_factory=list)


def flash_sale(
    env: Environment, stream: Stream, *, buyers: int, units: int, seed: int
) -> LoadResult:
    """
    `buyers` with one unit each in the cart post, 64 at a time, for `units`. No fault is active, so
    no answer may be 5xx.
    """
    [variant] = [variant for variant in env.variants() if variant["sku"] == SALE_SKU]
    env.stock(units, variant_ids=[variant["id"]])
    run_load_alone = [Buyer(stream, random.Random(f"{seed}:sale:{n}")) for n in range(buyers)]

    def fill(buyer: Buyer) -> None:
        buyer.token = stream.client.call("POST", "/api/auth/guest/").content["access"]
        wish = {"product_id": variant["product_id"], "variant_id": variant["id"], "quantity": 1}
        stream.client.call("POST", "/api/cart/add/", wish, token=buyer.token)

    def buy(buyer: Buyer) -> tuple[float, str]:
        began = time.monotonic()
        try:
            checkout = buyer.post()
            pays_and_confirms(buyer, checkout)
        except Exception as error:  # noqa: BLE001 - the run reports it, and is red
            stream.journal.failed(f"in the sale: {error!r}")
            return time.monotonic() - began, "no status"
        return time.monotonic() - began, checkout.status

    answers = stream.client.tally.answers
    failed = sum(count for status, count in answers.items() if status >= 500)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(fill, run_load_alone))
        began = time.monotonic()
        ends = list(pool.map(buy, run_load_alone))
        seconds = time.monotonic() - began
    [(sold,)] = env.rows(
        "SELECT coalesce(sum(line.units), 0) FROM shop_orderline line"
        " JOIN shop_order orders ON orders.id = line.order_id"
        " WHERE orders.stock_state = 'sold' AND line.variant_id = %s",
        variant["id"],
    )
    ended_as = Counter(status for _, status in ends)
    findings = []
    if int(sold) != units:
        findings.append(Finding("database", f"{sold} of {units} units were sold in the sale"))
    findings += [
        Finding("buyers", f"{count} buyers of the sale ended as {status}")
        for status, count in ended_as.items()
        if status not in DECIDED
    ]
    if failed := sum(count for status, count in answers.items() if status >= 500) - failed:
        findings.append(Finding("buyers", f"{failed} requests of the sale were answered 5xx"))
    times = [seconds for seconds, _ in ends]
    return LoadResult(
        "flash sale",
        f"{buyers} buyers for {units} units, {AT_A_TIME} at a time",
        {
            "sold": int(sold),
            "ended as": dict(ended_as),
            "seconds": round(seconds, 1),
            "until the end, p50/p99 s": [round(percentile(times, q), 2) for q in (50, 99)],
        },
        findings,
    )


def waiting_buyers(env: Environment, stream: Stream, *, buyers: int, seconds: float) -> LoadResult:
    """
    Pages poll the status of unpaid checkouts at the server's pace while one buyer checks out.

    25 pages share a checkout.
    """
    open_ = _open_checkouts(stream, max(1, buyers // 25))
    pages = [open_[n % len(open_)] for n in range(buyers)]
    over = time.monotonic() + seconds
    looks = [_Looks(env.stack.base_url, pages[n::POLLING_THREADS], over)
             for n in range(POLLING_THREADS)]  # fmt: skip
    threads = [threading.Thread(target=it.go) for it in looks]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    buyer = Buyer(stream, random.Random("one buyer"))
    buyer.arrive()
    buyer.fill([stream.variants[0]])
    pays_and_confirms(buyer, buyer.post())
    checkout_seconds = time.monotonic() - began
    for thread in threads:
        thread.join()
    answers: Counter[int] = sum((it.answers for it in looks), Counter())
    took = [took for it in looks for took in it.took]
    late = [late for it in looks for late in it.late]
    bad = {status: n for status, n in answers.items() if status not in (200, 304)}
    return LoadResult(
        "waiting buyers",
        f"{buyers} pages poll, {seconds:.0f} s",
        {
            "polls/s": round(len(took) / seconds),
            "answers": {str(status): n for status, n in answers.items()},
            "poll, p50/p99 ms": [round(percentile(took, q) * 1000, 1) for q in (50, 99)],
            "late, p99 s": round(percentile(late, 99), 2),
            "a checkout beside them, s": round(checkout_seconds, 2),
        },
        [
            Finding("buyers", f"a poll was answered {status}, {n} times")
            for status, n in bad.items()
        ],
    )


def _open_checkouts(stream: Stream, count: int) -> list[KnownCheckout]:
    def open_one(n: int) -> KnownCheckout:
        buyer = Buyer(stream, random.Random(f"waiting:{n}"))
        buyer.arrive()
        buyer.fill([stream.variants[n % len(stream.variants)]])
        checkout = buyer.post()
        buyer.payable(checkout)
        return checkout

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(open_one, range(count)))


class _Looks:
    """Some of the pages, on one connection. Each polls again when its last answer says."""

    def __init__(self, base_url: str, pages: list[KnownCheckout], over: float) -> None:
        address = urlsplit(base_url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=60
        )
        self._over = over
        now = time.monotonic()
        self._due = [(now + 3 * n / len(pages), n, page, "") for n, page in enumerate(pages)]
        self.answers: Counter[int] = Counter()
        self.took: list[float] = []
        self.late: list[float] = []

    def go(self) -> None:
        heapq.heapify(self._due)
        while (now := time.monotonic()) < self._over and self._due:
            due_at, n, page, etag = heapq.heappop(self._due)
            if due_at > now:
                time.sleep(due_at - now)
            self.late.append(max(0.0, time.monotonic() - due_at))
            headers = {"Authorization": f"Bearer {page.token}", "If-None-Match": etag}
            began = time.monotonic()
            self._connection.request("GET", f"/api/checkouts/{page.id}/", headers=headers)
            answer = self._connection.getresponse()
            answer.read()
            self.took.append(time.monotonic() - began)
            self.answers[answer.status] += 1
            if pause := answer.headers.get("Retry-After"):
                etag = answer.headers.get("ETag", etag)
                heapq.heappush(self._due, (time.monotonic() + float(pause), n, page, etag))


def webhook_burst(env: Environment, stream: Stream, *, seconds: float) -> LoadResult:
    """Send genuine events at `EVENTS_PER_SECOND`, each three times, while buyers buy."""
    secret = env.stack.environment["RAZORPAY_WEBHOOK_SECRETS"].partition(",")[0].encode()
    found = env.standin("GET", "deliveries?event=payment.captured")[-200:]
    bodies = [delivery["body"].encode() for delivery in found]
    address = urlsplit(env.stack.base_url)
    pool = urllib3.HTTPConnectionPool(
        address.hostname or "", address.port, maxsize=BURST_THREADS, retries=False, timeout=60
    )
    took: list[float] = []
    answers: Counter[str] = Counter()
    visits = sum(stream.journal.visits.values())

    def send(n: int) -> None:
        body = bodies[n % len(bodies)]
        headers = {
            "Content-Type": "application/json",
            "X-Razorpay-Event-Id": f"Burst{uuid.uuid4().hex[:20]}",
            "X-Razorpay-Signature": hmac.new(secret, body, hashlib.sha256).hexdigest(),
        }
        for _ in range(COPIES):
            began = time.monotonic()
            try:
                answer = pool.request("POST", "/api/webhooks/razorpay/", body=body, headers=headers)
            except urllib3.exceptions.HTTPError:  # a crash requested earlier
                answers["none"] += 1
                continue
            took.append(time.monotonic() - began)
            answers[str(answer.status)] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(BURST_THREADS) as threads:
        for n in range(int(seconds * EVENTS_PER_SECOND)):
            due_at = began + n / EVENTS_PER_SECOND
            time.sleep(max(0.0, due_at - time.monotonic()))
            threads.submit(send, n)
    lasted = time.monotonic() - began
    bad = {status: n for status, n in answers.items() if status not in ("200", "503", "none")}
    return LoadResult(
        "webhook burst",
        f"{EVENTS_PER_SECOND} events a second, each {COPIES} times, {seconds:.0f} s",
        {
            "webhooks/s": round(sum(answers.values()) / lasted),
            "answers": dict(answers),
            "webhook, p50/p99 ms": [round(percentile(took, q) * 1000, 1) for q in (50, 99)],
            "visits during it": sum(stream.journal.visits.values()) - visits,
        },
        [
            Finding("money", f"a webhook was answered {status}, {n} times")
            for status, n in bad.items()
        ],
    )


def percentile(values: list[float], q: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * q / 100))] if ranked else 0.0


def as_json(load: LoadResult) -> Any:
    return json.loads(json.dumps({"what": load.what, **load.numbers}))
