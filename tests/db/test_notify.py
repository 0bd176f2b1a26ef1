"""The doorbell: at most one unanswered ring of a task, and never a buyer who waits for Redis."""

import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from kombu import Connection, pools
from redis import Redis

from shop.db import redis_client
from tasks import checkout, payments
from tasks.app import app
from tasks.notify import (
    BATCH_DELAY_SECONDS,
    MAX_BATCH_DELAY_SECONDS,
    _batch_delays,
    _began,
    _waiting,
    begin_run,
    notify,
    notify_overdue,
    send_canary,
    set_batch_delay,
)
from tests.support.shop import make_checkout, reload

DOORBELL = sys.modules[notify.__module__]  # `tasks.app` is the app in it


def rings(redis, queue: str = "checkout") -> int:
    return redis.llen(queue)


def test_rings_that_nobody_has_answered_are_one(redis):
    for n in range(5):
        notify(checkout.VALIDATE_CART, checkout_id=str(n))

    assert rings(redis) == 1


def test_a_lost_ring_does_not_silence_the_sweeper(redis):
    notify(checkout.VALIDATE_CART, checkout_id="1")
    redis.delete("checkout")  # the message; its flag lives on

    for _ in range(2):
        notify_overdue(checkout.VALIDATE_CART, checkout_id="1")
    assert rings(redis) == 1

    begin_run(checkout.VALIDATE_CART)
    assert redis.keys("ring:*") == []


def test_a_ring_after_the_answer_is_sent(redis):
    notify(checkout.VALIDATE_CART, checkout_id="1")
    begin_run(checkout.VALIDATE_CART)

    notify(checkout.VALIDATE_CART, checkout_id="2")

    assert rings(redis) == 2


@pytest.mark.django_db
def test_a_run_that_finds_another_waiting_leaves_the_rows_and_the_flag_to_it(redis, now):
    job = make_checkout(now=now)
    notify(checkout.VALIDATE_CART, checkout_id="1")

    with _waiting[checkout.VALIDATE_CART]:
        line = checkout.validate_cart(checkout_id="1")

    assert line == checkout.COALESCED
    assert reload(job).state == "queued"
    assert redis.exists(f"ring:{checkout.VALIDATE_CART}")
    assert checkout.validate_cart(checkout_id="1") == f"advanced 1: {job.pk}"


def test_a_ring_on_the_heels_of_an_answer_is_left_to_nobody(redis, monkeypatch):
    """Its flag would stay, and silence all others until it ends by itself."""
    said: list[bool] = []

    def clear_and_be_rung(command: Callable[[Redis], object]) -> object:
        cleared = command(redis)
        if not said:
            said.append(False)
            notify(checkout.VALIDATE_CART, checkout_id="2")
            said[0] = begin_run(checkout.VALIDATE_CART)  # its message, in another thread
        return cleared

    monkeypatch.setattr(redis_client, "call", clear_and_be_rung)
    begin_run(checkout.VALIDATE_CART)

    assert said == [True]
    assert not redis.exists(f"ring:{checkout.VALIDATE_CART}")


@pytest.fixture
def slept(redis, monkeypatch) -> list[float]:
    """What runs have waited for their time, on a clock that they alone move."""
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + sum(slept))
    monkeypatch.setattr(time, "sleep", slept.append)
    _began.clear()
    _batch_delays.clear()
    return slept


def test_runs_of_a_task_keep_their_distance(slept):
    for task in (checkout.VALIDATE_CART, checkout.CREATE_ORDER, checkout.VALIDATE_CART):
        begin_run(task)

    assert slept == [pytest.approx(BATCH_DELAY_SECONDS)]  # the third waited for the first


@pytest.mark.parametrize(
    ("rows", "pace_seconds"),
    [(0, BATCH_DELAY_SECONDS), (1, BATCH_DELAY_SECONDS), (4, 0.095), (50, MAX_BATCH_DELAY_SECONDS)],
)
def test_who_found_company_waits_longer_for_more(slept, rows, pace_seconds):
    begin_run(checkout.VALIDATE_CART)
    set_batch_delay(checkout.VALIDATE_CART, rows=rows, limit=100)

    begin_run(checkout.VALIDATE_CART)

    assert slept == [pytest.approx(pace_seconds)]


def test_who_left_some_is_followed_at_once(slept):
    begin_run(checkout.VALIDATE_CART)
    set_batch_delay(checkout.VALIDATE_CART, rows=100, limit=100)

    begin_run(checkout.VALIDATE_CART)

    assert slept == []


@pytest.mark.django_db
def test_a_run_sets_the_pace_by_what_it_found(slept, now):
    for _ in range(3):
        make_checkout(now=now)

    checkout.validate_cart()
    checkout.validate_cart()

    assert slept == [pytest.approx(0.08)]


def test_tasks_do_not_silence_each_other(redis):
    notify(checkout.VALIDATE_CART, checkout_id="1")
    notify(checkout.CREATE_RAZORPAY_ORDER, checkout_id="1")

    assert (rings(redis), rings(redis, "gateway")) == (1, 1)


def test_the_flag_ends_by_itself(redis):
    notify(checkout.VALIDATE_CART, checkout_id="1")

    assert 0 < redis.ttl(f"ring:{checkout.VALIDATE_CART}") <= 5


def test_without_redis_a_ring_is_left_unsaid(redis, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._client.cache_clear()
    try:
        notify(checkout.VALIDATE_CART, checkout_id="1")
        with pytest.raises(redis_client.RedisUnavailable):
            redis_client.call(lambda it: it.ping())
    finally:
        redis_client._client.cache_clear()
        redis_client.try_again()


@pytest.fixture
def broker_away(redis, monkeypatch):
    """The broker is a server of its own, and refuses connections."""
    nobody = Connection("redis://127.0.0.1:9", transport_options={"max_retries": 0})
    monkeypatch.setattr(app.amqp, "_producer_pool", pools.producers[nobody])
    monkeypatch.setattr(DOORBELL, "_broker_avoided_until", 0.0)


def test_a_broker_that_accepts_and_does_not_answer_costs_a_fraction_of_a_second(redis, monkeypatch):
    """As a frozen RabbitMQ does to a process that was started meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as frozen, ThreadPoolExecutor(1) as caller:
        frozen_url = f"amqp://guest@127.0.0.1:{frozen.getsockname()[1]}//"
        away = pools.producers[app.connection_for_write(frozen_url)]
        monkeypatch.setattr(app.amqp, "_producer_pool", away)
        monkeypatch.setattr(DOORBELL, "_broker_avoided_until", 0.0)

        rung = caller.submit(notify, checkout.VALIDATE_CART, checkout_id="1")

        rung.result(timeout=2)  # with Celery's own timeout: four seconds
    assert redis.keys() == []


@pytest.mark.usefixtures("broker_away")
def test_without_the_broker_redis_is_asked_on():
    """Throttles and guesses of passwords are counted there."""
    notify(checkout.VALIDATE_CART, checkout_id="1")

    assert redis_client.call(lambda it: it.ping())


@pytest.mark.usefixtures("broker_away")
def test_a_ring_that_could_not_be_sent_silences_nobody(redis):
    notify(checkout.VALIDATE_CART, checkout_id="1")
    DOORBELL._broker_avoided_until = 0.0  # another process
    send_canary("gateway")

    assert redis.keys() == []


@pytest.mark.usefixtures("broker_away")
def test_the_broker_is_left_alone_for_a_while(redis, monkeypatch):
    notify(checkout.VALIDATE_CART, checkout_id="1")
    monkeypatch.setattr(app.amqp, "_producer_pool", None)  # it is back

    notify(checkout.VALIDATE_CART, checkout_id="2")
    send_canary("gateway")
    assert (rings(redis), rings(redis, "gateway"), redis.keys()) == (0, 0, [])

    DOORBELL._broker_avoided_until = time.monotonic()
    notify(checkout.VALIDATE_CART, checkout_id="3")
    send_canary("gateway")
    assert (rings(redis), rings(redis, "gateway")) == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("task", [checkout.validate_cart, payments.reconcile_webhook])
def test_a_ring_that_comes_while_a_task_works_is_sent(task, redis):
    notify(task.name, checkout_id="1")

    task(checkout_id="1")

    assert not redis.exists(f"ring:{task.name}")


@pytest.mark.django_db
def test_a_task_looks_at_what_is_due_whoever_rang(redis, now):
    job = make_checkout(now=now)
    notify(checkout.VALIDATE_CART, checkout_id="somebody-else")

    line = checkout.validate_cart(checkout_id="somebody-else", added_by_a_later_version=1)

    assert line == f"advanced 1: {job.pk}"
    assert reload(job).state == "validated"
    assert rings(redis) == 2  # the first, and one for create_order
