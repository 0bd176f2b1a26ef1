"""The net under the ringing: what is overdue is found by its row."""

import json
from datetime import timedelta

import pytest

from shop.db import redis_client
from tasks.app import QUEUES
from tasks.notify import notify
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, place_order, reload
from workers import sweeper
from workers.sweeper import send_canaries, sweep

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

LATER = timedelta(seconds=2)


def test_a_quiet_shop_is_left_alone(now):
    assert sweep(now=now) == []


def test_a_checkout_whose_ring_was_lost_is_rung_for(now, redis):
    make_checkout(now=now)
    notify("checkout.validate_cart")
    redis.delete("checkout")  # its message: its flag lives on

    assert sweep(now=now + LATER) == ["checkout.validate_cart"]
    assert redis.llen("checkout") == 1


def test_what_has_only_just_fallen_due_is_left_to_its_own_ring(now):
    make_checkout(now=now)

    assert sweep(now=now) == []


def test_a_claim_that_lapsed_is_rung_for(now, settings):
    from shop.checkout import jobs
    from shop.checkout.states import State

    place_order(make_checkout(now=now), now=now)
    jobs.claim_due(State.ORDERED, limit=1, now=now)

    assert sweep(now=now + LATER) == []
    lapsed = now + timedelta(seconds=settings.CLAIM_SECONDS) + LATER
    assert sweep(now=lapsed) == ["checkout.create_razorpay_order"]


def test_a_webhook_whose_ring_was_lost_is_rung_for(now):
    deliver({"id": "pay_1", "status": "captured"}, now=now)

    assert sweep(now=now + LATER) == ["payments.reconcile_webhook"]


def test_an_order_to_be_asked_about_is_rung_for(gateway, now):
    make_payable(make_checkout(now=now), gateway, now=now)

    assert sweep(now=now + timedelta(minutes=1)) == ["payments.check_payments"]


def test_the_end_of_the_hold_is_the_sweepers_own_business(gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)

    sweep(now=job.expires_at)

    job.refresh_from_db()
    assert "asking the bank" in job.waiting_for


@pytest.mark.parametrize(("most_batches", "asked_about"), [(10, 5), (2, 4)])
def test_full_batches_of_ended_holds_follow_each_other_up_to_a_bound(
    gateway, now, settings, monkeypatch, most_batches, asked_about
):
    jobs = [make_payable(make_checkout(now=now), gateway, now=now) for _ in range(5)]
    settings.BATCH_SIZE = 2
    monkeypatch.setattr(sweeper, "EXPIRY_BATCHES", most_batches)

    sweep(now=jobs[-1].expires_at)

    assert sum("asking the bank" in reload(job).waiting_for for job in jobs) == asked_about


# --- what it does beside sweeping ---


def canaries(redis) -> dict[str, int]:
    return {queue: redis.llen(queue) for queue in QUEUES}


def test_canaries_go_through_every_queue_once_however_many_sweepers_send_them(redis, now):
    for _ in range(3):
        send_canaries(now=now)

    assert canaries(redis) == dict.fromkeys(QUEUES, 1)
    [message] = redis.lrange("gateway", 0, -1)
    headers = json.loads(message)["headers"]
    assert headers["task"] == "workers.canary"
    assert headers["expires"]  # they do not pile up before a worker that is away


def test_a_canary_without_redis_is_left_unsent(now):
    redis_client.avoid(ConnectionError("gone"))
    try:
        send_canaries(now=now)
    finally:
        redis_client.try_again()


def test_every_chore_has_its_turn_at_first_and_then_after_its_period(monkeypatch, now):
    turns = []
    monkeypatch.setattr(
        sweeper,
        "PERIODIC_JOBS",
        (
            (timedelta(seconds=9), lambda **_: turns.append("seldom")),
            (timedelta(seconds=2), lambda **_: turns.append("often")),
        ),
    )
    schedule = sweeper.Schedule()

    for second in range(5):
        schedule.work(now=now + timedelta(seconds=second))

    assert turns == ["seldom", "often", "often", "often"]
