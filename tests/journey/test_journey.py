"""The real processes, from the POST to the paid order, with kills and outages."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from redis import Redis
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tests.support.buyers import Buyer, together, until
from tests.support.running_shop import MUG, RunningShop

PATIENT_TO_CONNECT = Retry(connect=100, read=0, backoff_factor=0.1, backoff_max=1)
STEPS = (
    "checkout.validate_cart",
    "checkout.create_order",
    "checkout.create_razorpay_order",
    "payments.reconcile_webhook",
)


def wait_all(buyers: list[Buyer], checkouts: list[dict], status: str) -> list[dict]:
    pairs = zip(buyers, checkouts, strict=True)
    return together(lambda pair: pair[0].wait(pair[1], status), pairs)


def test_a_checkout_goes_from_post_to_paid(running_shop: RunningShop):
    [buyer] = running_shop.arrive(1)

    checkout = buyer.wait(buyer.post(), "awaiting_payment")
    running_shop.pay(checkout)
    checkout = buyer.wait(checkout, "paid")

    assert [step["status"] for step in checkout["steps"]] == ["done"] * 4
    order = buyer.call("GET", checkout["order"]["url"])
    assert (order["status"], order["amount_paise"]) == ("paid", checkout["amount_paise"])
    assert buyer.call("GET", "/api/cart/")["items"] == []


def test_flower_lists_each_step_and_finds_it_by_the_checkouts_id(running_shop: RunningShop):
    [buyer] = running_shop.arrive(1)
    checkout = buyer.wait(buyer.post(), "awaiting_payment")
    running_shop.pay(checkout)
    buyer.wait(checkout, "paid")

    def succeeded() -> set[str]:
        found = running_shop.tasks(search=checkout["id"])
        return {task["name"] for task in found if task["state"] == "SUCCESS"}

    until(lambda: succeeded() >= set(STEPS))


def test_two_hundred_checkouts_are_processed_in_batches(running_shop: RunningShop):
    buyers = running_shop.arrive(200)
    before = {step: len(running_shop.tasks(taskname=step, limit="10000")) for step in STEPS}

    checkouts = wait_all(buyers, running_shop.post_all(buyers), "awaiting_payment")

    assert len(dict(running_shop.payable_orders(checkouts))) == 200
    for step in STEPS[:3]:
        ran = len(running_shop.tasks(taskname=step, limit="10000")) - before[step]
        assert 0 < ran < 200, f"{step} ran {ran} times"


def test_a_worker_killed_among_fifty_checkouts_loses_none(running_shop: RunningShop):
    buyers = running_shop.arrive(50)
    stack = running_shop.stack

    checkouts = running_shop.post_all(buyers[:25])
    stack.kill("worker")
    stack.kill("gateway")
    checkouts += running_shop.post_all(buyers[25:])
    stack.restart("worker")
    stack.restart("gateway")

    wait_all(buyers, checkouts, "awaiting_payment")
    payable = running_shop.payable_orders(checkouts)
    assert len(payable) == len({order_id for _, order_id in payable}) == 50


def test_a_flushed_redis_among_fifty_checkouts_loses_none(running_shop: RunningShop):
    buyers = running_shop.arrive(50)
    with Redis.from_url(running_shop.stack.services.redis_url) as client:
        checkouts = running_shop.post_all(buyers[:25])
        client.flushall()
        checkouts += running_shop.post_all(buyers[25:])
        client.flushall()

    wait_all(buyers, checkouts, "awaiting_payment")
    payable = running_shop.payable_orders(checkouts)
    assert len(payable) == len({order_id for _, order_id in payable}) == 50


def test_without_redis_a_post_is_accepted_and_continues_when_redis_is_back(
    running_shop: RunningShop,
):
    [buyer] = running_shop.arrive(1)
    redis = running_shop.stack.services.redis
    assert redis is not None
    redis.kill()
    try:
        checkout = buyer.post()
    finally:
        redis.start()

    buyer.wait(checkout, "awaiting_payment")


def test_a_rolling_restart_among_buyers_fails_none_of_their_requests(running_shop: RunningShop):
    stack, over = running_shop.stack, threading.Event()

    def buy_repeatedly() -> list[tuple[Buyer, dict]]:
        """Retries refused connections, as a proxy does. Every accepted request gets an answer."""
        bought = []
        while not over.is_set():
            buyer = Buyer(stack.base_url)
            buyer.http.mount("http://", HTTPAdapter(max_retries=PATIENT_TO_CONNECT))
            buyer.http.headers["Connection"] = "close"  # an idle connection may be closed
            buyer.come(sku=MUG)
            bought.append((buyer, buyer.post()))
        return bought

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(buy_repeatedly) for _ in range(6)]
        parent, *serving = sorted(stack.pids("web"))
        os.kill(parent, signal.SIGHUP)
        try:
            until(lambda: not set(serving) & set(stack.pids("web")), seconds=60)
            for name in ("worker", "gateway", "sweeper"):
                stack.restart(name)
        finally:
            over.set()

    pairs = [pair for future in running for pair in future.result()]
    buyers, checkouts = zip(*pairs, strict=True)
    wait_all(list(buyers), list(checkouts), "awaiting_payment")
    payable = running_shop.payable_orders(list(checkouts))
    assert len(payable) == len({order_id for _, order_id in payable}) == len(pairs)
