"""The sweeper finds overdue rows, and runs the periodic jobs."""

import json
from datetime import timedelta

import pytest

from shop.db import redis_client
from tasks.notify import notify
from tasks.registry import QUEUES
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, place_order, reload
from workers import sweeper
from workers.sweeper import send_canaries, sweep

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

LATER = timedelta(seconds=2)


def test_nothing_is_notified_while_nothing_is_due(now):
    assert sweep(now=now) == []


def test_a_checkout_whose_message_was_lost_is_notified(now, redis):
    make_checkout(now=now)
    notify("checkout.validate_cart")
    redis.delete("checkout")  # the message; its flag stays

    assert sweep(now=now + LATER) == ["checkout.validate_cart"]
    assert redis.llen("checkout") == 1


def test_a_checkout_that_has_just_fallen_due_is_left_to_its_own_message(now):
    make_checkout(now=now)

    assert sweep(now=now) == []


def test_a_lapsed_claim_is_notified(now, settings):
    from shop.checkout import jobs
    from shop.checkout.states import State

    place_order(make_checkout(now=now), now=now)
    jobs.claim_due(State.ORDERED, limit=1, now=now)

    assert sweep(now=now + LATER) == []
    lapsed = now + timedelta(seconds=settings.CLAIM_SECONDS) + LATER
    assert sweep(now=lapsed) == ["checkout.create_razorpay_order"]


def test_a_webhook_whose_message_was_lost_is_notified(now):
    deliver({"id": "pay_1", "status": "captured"}, now=now)

    assert sweep(now=now + LATER) == ["payments.reconcile_webhook"]


def test_an_order_that_is_due_for_a_poll_is_notified(gateway, now):
    make_payable(make_checkout(now=now), gateway, now=now)

    assert sweep(now=now + timedelta(minutes=1)) == ["payments.check_payments"]


def test_the_sweeper_itself_handles_the_end_of_a_hold(gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)

    sweep(now=job.expires_at)

    job.refresh_from_db()
    assert "asking the bank" in job.waiting_for


@pytest.mark.parametrize(("max_batches", "polled"), [(10, 5), (2, 4)])
def test_full_batches_of_ended_holds_follow_each_other_up_to_a_limit(
    gateway, now, settings, monkeypatch, max_batches, polled
):
    jobs = [make_payable(make_checkout(now=now), gateway, now=now) for _ in range(5)]
    settings.BATCH_SIZE = 2
    monkeypatch.setattr(sweeper, "EXPIRY_BATCHES", max_batches)

    sweep(now=jobs[-1].expires_at)

    assert sum("asking the bank" in reload(job).waiting_for for job in jobs) == polled


# --- periodic jobs ---


def canaries(redis) -> dict[str, int]:
    return {queue: redis.llen(queue) for queue in QUEUES}


def test_canaries_go_through_every_queue_once_for_all_sweepers(redis, now):
    for _ in range(3):
        send_canaries(now=now)

    assert canaries(redis) == dict.fromkeys(QUEUES, 1)
    [message] = redis.lrange("gateway", 0, -1)
    headers = json.loads(message)["headers"]
    assert headers["task"] == "workers.canary"
    assert headers["expires"]  # they do not pile up while no worker takes them


def test_without_redis_no_canary_is_sent(now):
    redis_client.avoid(ConnectionError("gone"))
    try:
        send_canaries(now=now)
    finally:
        redis_client.try_again()


def test_every_periodic_job_runs_at_first_and_then_after_its_period(monkeypatch, now):
    ran = []
    monkeypatch.setattr(
        sweeper,
        "PERIODIC_JOBS",
        (
            (timedelta(seconds=9), lambda **_: ran.append("seldom")),
            (timedelta(seconds=2), lambda **_: ran.append("often")),
        ),
    )
    schedule = sweeper.Schedule()

    for second in range(5):
        schedule.work(now=now + timedelta(seconds=second))

    assert ran == ["seldom", "often", "often", "often"]
