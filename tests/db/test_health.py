"""Alive, ready, and whether we still hear of money by webhook."""

from datetime import timedelta

import pytest

from shop.checkout.questions import CheckPayments
from shop.checkout.webhooks import ReconcileWebhook
from shop.payments import pressure, reconcile
from shop.payments.gateway import OutcomeUnknown
from shop.payments.hearing import hearing
from shop.payments.ledger import GatewayOrder
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, run, run_remote
from workers.sweeper import listen

pytestmark = pytest.mark.django_db


def pay_three(gateway, standin, *, now):
    for _ in range(3):
        job = make_payable(make_checkout(now=now), gateway, now=now)
        payment = standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id)
        reconcile.ask_now([job.order_id], now=now)
    return payment


def test_a_live_process_says_so(client):
    assert client.get("/health/live").json() == {"status": "ok"}


def test_ready_means_that_buyers_can_be_served(client, redis):
    answer = client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_without_redis_it_is_degraded_and_still_ready(client, redis, settings):
    from shop import redis_client

    redis_client.avoid(ConnectionError("gone"))
    try:
        answer = client.get("/health/ready")
    finally:
        redis_client.try_again()

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


def test_a_gateway_left_alone_shows(client, redis):
    from django.utils import timezone

    pressure.learn([OutcomeUnknown("no answer")] * 9, now=timezone.now())

    assert "resting" in client.get("/health/ready").json()["checks"]["gateway"]


def test_money_found_by_asking_alone_raises_the_alarm(gateway, standin, now):
    pay_three(gateway, standin, now=now)

    run_remote(CheckPayments(), gateway, now=now)

    assert hearing(now=now).captured_by_fetch == 3
    assert listen(now=now)


def test_one_webhook_is_a_sign_of_life(gateway, standin, now):
    payment = pay_three(gateway, standin, now=now)
    deliver(payment, now=now)
    run(ReconcileWebhook(), now=now)
    run_remote(CheckPayments(), gateway, now=now)

    assert hearing(now=now).captured_by_webhook == 1
    assert not listen(now=now)


def test_an_hour_later_it_is_only_quiet(gateway, standin, now):
    pay_three(gateway, standin, now=now)
    run_remote(CheckPayments(), gateway, now=now)

    assert not listen(now=now + timedelta(hours=1))
