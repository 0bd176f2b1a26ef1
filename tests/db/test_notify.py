"""Notifications of a task are coalesced, and no buyer waits for Redis."""

import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from kombu import Connection, pools
from redis import Redis

from shop.db import redis_client
from tasks import checkout, payments, run
from tasks.app import app
from tasks.batch_delay import BATCH_DELAY_SECONDS, MAX_BATCH_DELAY_SECONDS, BatchDelay
from tasks.notify import begin_run, notify, notify_overdue, send_canary, set_batch_delay
from tasks.registry import (
    CREATE_ORDER,
    CREATE_RAZORPAY_ORDER,
    RECONCILE_WEBHOOK,
    VALIDATE_CART,
    WORK,
)
from tests.support.shop import make_checkout, reload

NOTIFY = sys.modules[notify.__module__]  # `tasks.notify` is the function in it


def messages(redis, queue: str = "checkout") -> int:
    return redis.llen(queue)


def test_pending_notifications_are_coalesced(redis):
    for n in range(5):
        notify(VALIDATE_CART, checkout_id=str(n))

    assert messages(redis) == 1


def test_a_lost_message_does_not_suppress_the_sweeper(redis):
    notify(VALIDATE_CART, checkout_id="1")
    redis.delete("checkout")  # the message; its flag stays

    for _ in range(2):
        notify_overdue(VALIDATE_CART, checkout_id="1")
    assert messages(redis) == 1

    begin_run(VALIDATE_CART)
    assert redis.keys("pending:*") == []


def test_a_notification_after_the_run_began_is_sent(redis):
    notify(VALIDATE_CART, checkout_id="1")
    begin_run(VALIDATE_CART)

    notify(VALIDATE_CART, checkout_id="2")

    assert messages(redis) == 2


class FakeTime:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.while_asleep: Callable[[], object] = lambda: None

    def clock(self) -> float:
        return 100.0 + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.while_asleep()


@pytest.fixture
def fake_time(redis, monkeypatch) -> FakeTime:
    """The time of all batch delays of this process, none of which has started a run."""
    fake = FakeTime()
    delays = {
        work.task: BatchDelay(row_weight=work.row_weight, clock=fake.clock, sleep=fake.sleep)
        for work in WORK
    }
    monkeypatch.setattr(NOTIFY, "_batch_delays", delays)
    return fake


@pytest.mark.django_db
def test_a_run_that_finds_another_waiting_leaves_the_rows_and_the_flag_to_it(redis, now, fake_time):
    begin_run(VALIDATE_CART)
    job = make_checkout(now=now)
    notify(VALIDATE_CART, checkout_id="1")
    seen = []

    def second_run() -> None:
        line = checkout.validate_cart(checkout_id="1")
        seen.append((line, reload(job).state, bool(redis.exists(f"pending:{VALIDATE_CART}"))))

    fake_time.while_asleep = second_run
    first_line = checkout.validate_cart(checkout_id="1")

    assert seen == [(run.COALESCED, "queued", True)]
    assert first_line == f"advanced 1: {job.pk}"


def test_a_run_that_starts_while_another_clears_the_flag_is_not_coalesced(redis, monkeypatch):
    """Its flag would stay, and suppress all others until it expires."""
    began: list[bool] = []

    def clear_and_notify(command: Callable[[Redis], object]) -> object:
        cleared = command(redis)
        if not began:
            began.append(False)
            notify(VALIDATE_CART, checkout_id="2")
            began[0] = begin_run(VALIDATE_CART)  # its message, in another thread
        return cleared

    monkeypatch.setattr(redis_client, "call", clear_and_notify)
    begin_run(VALIDATE_CART)

    assert began == [True]
    assert not redis.exists(f"pending:{VALIDATE_CART}")


def test_runs_of_a_task_start_a_delay_apart(fake_time):
    for task in (VALIDATE_CART, CREATE_ORDER, VALIDATE_CART):
        begin_run(task)

    assert fake_time.slept == [pytest.approx(BATCH_DELAY_SECONDS)]  # the third, after the first


@pytest.mark.parametrize(
    ("rows", "delay_seconds"),
    [(0, BATCH_DELAY_SECONDS), (1, BATCH_DELAY_SECONDS), (4, 0.095), (50, MAX_BATCH_DELAY_SECONDS)],
)
def test_the_delay_grows_with_the_batch(fake_time, rows, delay_seconds):
    begin_run(VALIDATE_CART)
    set_batch_delay(VALIDATE_CART, rows=rows, limit=100)

    begin_run(VALIDATE_CART)

    assert fake_time.slept == [pytest.approx(delay_seconds)]


def test_the_delay_grows_faster_for_webhooks_which_come_in_groups(fake_time):
    begin_run(RECONCILE_WEBHOOK)
    set_batch_delay(RECONCILE_WEBHOOK, rows=2, limit=100)

    begin_run(RECONCILE_WEBHOOK)

    assert fake_time.slept == [pytest.approx(0.095)]


def test_no_delay_follows_a_full_batch(fake_time):
    begin_run(VALIDATE_CART)
    set_batch_delay(VALIDATE_CART, rows=100, limit=100)

    begin_run(VALIDATE_CART)

    assert fake_time.slept == []


@pytest.mark.django_db
def test_a_run_sets_the_delay_by_the_rows_that_it_found(fake_time, now):
    for _ in range(3):
        make_checkout(now=now)

    checkout.validate_cart()
    checkout.validate_cart()

    assert fake_time.slept == [pytest.approx(0.08)]


def test_tasks_do_not_suppress_each_other(redis):
    notify(VALIDATE_CART, checkout_id="1")
    notify(CREATE_RAZORPAY_ORDER, checkout_id="1")

    assert (messages(redis), messages(redis, "gateway")) == (1, 1)


def test_the_flag_expires(redis):
    notify(VALIDATE_CART, checkout_id="1")

    assert 0 < redis.ttl(f"pending:{VALIDATE_CART}") <= 5


def test_without_redis_nothing_is_sent_and_nothing_raised(redis, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._client.cache_clear()
    try:
        notify(VALIDATE_CART, checkout_id="1")
        with pytest.raises(redis_client.RedisUnavailable):
            redis_client.call(lambda client: client.ping())
    finally:
        redis_client._client.cache_clear()
        redis_client.try_again()


@pytest.fixture
def broker_unavailable(redis, monkeypatch):
    """The broker is another server than Redis, and refuses connections."""
    nobody = Connection("redis://127.0.0.1:9", transport_options={"max_retries": 0})
    monkeypatch.setattr(app.amqp, "_producer_pool", pools.producers[nobody])
    monkeypatch.setattr(NOTIFY, "_broker_avoided_until", 0.0)


def test_a_broker_that_accepts_and_does_not_answer_costs_a_fraction_of_a_second(redis, monkeypatch):
    """As a frozen RabbitMQ does to a process that has just started."""
    with socket.create_server(("127.0.0.1", 0)) as frozen, ThreadPoolExecutor(1) as caller:
        frozen_url = f"amqp://guest@127.0.0.1:{frozen.getsockname()[1]}//"
        unavailable = pools.producers[app.connection_for_write(frozen_url)]
        monkeypatch.setattr(app.amqp, "_producer_pool", unavailable)
        monkeypatch.setattr(NOTIFY, "_broker_avoided_until", 0.0)

        sent = caller.submit(notify, VALIDATE_CART, checkout_id="1")

        sent.result(timeout=2)  # with Celery's own timeout: four seconds
    assert redis.keys() == []


@pytest.mark.usefixtures("broker_unavailable")
def test_without_the_broker_redis_is_still_used():
    """Throttles and failed logins are counted there."""
    notify(VALIDATE_CART, checkout_id="1")

    assert redis_client.call(lambda client: client.ping())


@pytest.mark.usefixtures("broker_unavailable")
def test_a_message_that_could_not_be_sent_suppresses_no_other(redis):
    notify(VALIDATE_CART, checkout_id="1")
    NOTIFY._broker_avoided_until = 0.0  # another process
    send_canary("gateway")

    assert redis.keys() == []


@pytest.mark.usefixtures("broker_unavailable")
def test_an_unavailable_broker_is_avoided_for_a_while(redis, monkeypatch):
    notify(VALIDATE_CART, checkout_id="1")
    monkeypatch.setattr(app.amqp, "_producer_pool", None)  # it is available again

    notify(VALIDATE_CART, checkout_id="2")
    send_canary("gateway")
    assert (messages(redis), messages(redis, "gateway"), redis.keys()) == (0, 0, [])

    NOTIFY._broker_avoided_until = time.monotonic()
    notify(VALIDATE_CART, checkout_id="3")
    send_canary("gateway")
    assert (messages(redis), messages(redis, "gateway")) == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("task", [checkout.validate_cart, payments.reconcile_webhook])
def test_a_notification_during_a_run_is_sent(task, redis):
    notify(task.name, checkout_id="1")

    task(checkout_id="1")

    assert not redis.exists(f"pending:{task.name}")


@pytest.mark.django_db
def test_a_task_takes_all_due_rows_whichever_id_it_carries(redis, now):
    job = make_checkout(now=now)
    notify(VALIDATE_CART, checkout_id="somebody-else")

    line = checkout.validate_cart(checkout_id="somebody-else", added_by_a_later_version=1)

    assert line == f"advanced 1: {job.pk}"
    assert reload(job).state == "validated"
    assert messages(redis) == 2  # the first, and one for create_order
