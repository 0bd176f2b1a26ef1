"""Health checks, heartbeats, and the alarm for missing webhooks."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from shop.accounts import User
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.payments import circuit_breaker, polling
from shop.payments.gateway import OutcomeUnknown
from shop.payments.ledger import GatewayOrder
from shop.payments.webhook_health import webhook_health
from shop.telemetry import exporter, heartbeats
from tasks.canary import canary
from tasks.registry import QUEUES
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, run, run_remote
from workers import health
from workers.sweeper import check_webhooks

pytestmark = pytest.mark.django_db


TOKEN = "a-token-for-metrics"


@pytest.fixture
def client(settings) -> Client:
    """A client with METRICS_TOKEN, which may see the checks."""
    settings.METRICS_TOKEN = TOKEN
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def test_a_stranger_does_not_see_the_checks(client, redis, settings):
    for given in ({}, {"Authorization": "Bearer guessed"}):
        answer = Client(headers=given).get("/health/ready")
        assert (answer.status_code, answer.json()) == (200, {"status": "degraded"})

    settings.METRICS_TOKEN = ""
    assert Client().get("/health/ready").json() == {"status": "degraded"}
    settings.DEBUG = True
    assert "checks" in Client().get("/health/ready").json()


@pytest.mark.parametrize(("is_staff", "shown"), [(True, {"status", "checks"}), (False, {"status"})])
def test_staff_see_the_checks(client, redis, is_staff, shown):
    person = User.objects.create(email="a@example.com", is_staff=is_staff)
    browser = Client()
    browser.force_login(person)

    assert set(browser.get("/health/ready").json()) == shown


def pay_one(gateway, standin, *, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id)
    polling.poll_now([job.order_id], now=now)
    return payment


def pay_three(gateway, standin, *, now):
    return [pay_one(gateway, standin, now=now) for _ in range(3)][-1]


def test_a_live_process_says_so(client):
    assert client.get("/health/live").json() == {"status": "ok"}


def beat_all(*, at):
    heartbeats.beat(heartbeats.SWEEPER, now=at)
    for queue in QUEUES:
        heartbeats.beat(heartbeats.CANARY + queue, now=at)


def test_ready_means_that_buyers_can_be_served(client, redis):
    beat_all(at=timezone.now())

    answer = client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_an_unmigrated_database_is_not_ready(client, redis):
    beat_all(at=timezone.now())
    last = MigrationRecorder.Migration.objects.filter(app="shop").latest("name")
    last.delete()

    answer = client.get("/health/ready")

    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["checks"]["postgres"] == "not migrated"


def test_without_redis_it_is_degraded_and_still_ready(client, redis, settings):
    from shop.db import redis_client

    redis_client.avoid(ConnectionError("gone"))
    try:
        answer = client.get("/health/ready")
    finally:
        redis_client.try_again()

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize("name", [heartbeats.SWEEPER, heartbeats.CANARY + "gateway"])
def test_a_late_heartbeat_makes_it_degraded_and_still_ready(client, redis, name):
    now = timezone.now()
    beat_all(at=now)
    heartbeats.Heartbeat.objects.filter(name=name).update(at=now - timedelta(minutes=4))

    answer = client.get("/health/ready")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"][name].startswith("silent for ")


def test_a_missing_heartbeat_makes_it_degraded(client, redis):
    checks = client.get("/health/ready").json()["checks"]

    assert checks["sweeper"] == checks["canary.webhooks"] == "no heartbeat yet"


def test_a_canary_records_a_heartbeat_of_its_queue(now):
    assert canary(queue="gateway", added_by_a_later_version=1) == "came through gateway"

    [name] = heartbeats.Heartbeat.objects.values_list("name", flat=True)
    assert name == "canary.gateway"


def test_an_older_heartbeat_does_not_replace_a_newer_one(now):
    for at in (now, now + timedelta(seconds=9), now - timedelta(seconds=9)):
        heartbeats.beat(heartbeats.SWEEPER, now=at)

    assert heartbeats.Heartbeat.objects.get().at == now + timedelta(seconds=9)


def test_an_open_circuit_breaker_shows(client, redis):
    circuit_breaker.record_results(
        [(str(n), OutcomeUnknown("no answer")) for n in range(9)], now=timezone.now()
    )

    assert "open until" in client.get("/health/ready").json()["checks"]["gateway"]


def test_captures_found_only_by_polling_raise_the_alarm(gateway, standin, now):
    pay_three(gateway, standin, now=now)

    run_remote(CheckPayments(), gateway, now=now)

    assert webhook_health(now=now).captured_by_fetch == 3
    assert check_webhooks(now=now)


def test_one_webhook_ends_the_alarm(gateway, standin, now):
    payment = pay_three(gateway, standin, now=now)
    deliver(payment, now=now)
    run(ReconcileWebhook(), now=now)
    run_remote(CheckPayments(), gateway, now=now)

    assert webhook_health(now=now).captured_by_webhook == 1
    assert not check_webhooks(now=now)


def test_the_alarm_lasts_until_a_webhook_arrives(gateway, standin, now):
    payment = pay_three(gateway, standin, now=now)
    run_remote(CheckPayments(), gateway, now=now)
    assert check_webhooks(now=now + timedelta(hours=1))

    deliver(payment, now=now + timedelta(hours=1))

    assert not check_webhooks(now=now + timedelta(hours=1))
    assert not check_webhooks(now=now + timedelta(hours=2))


def test_a_shop_with_few_payments_gets_the_alarm_too(gateway, standin, now):
    for hours in range(3):
        assert not check_webhooks(now=now + timedelta(hours=hours))
        pay_one(gateway, standin, now=now + timedelta(hours=hours))
        run_remote(CheckPayments(), gateway, now=now + timedelta(hours=hours))

    assert check_webhooks(now=now + timedelta(hours=2))


def test_the_alarm_ends_after_a_day_without_payments(gateway, standin, now):
    pay_three(gateway, standin, now=now)
    run_remote(CheckPayments(), gateway, now=now)

    assert not check_webhooks(now=now + timedelta(days=1))


# --- for containers ---


@pytest.fixture
def metrics_environ(settings) -> Iterator[dict[str, str]]:
    """The environment of a probe; METRICS_PORT answers."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        settings.METRICS_PORT = found.getsockname()[1]
    server = exporter.serve()
    assert server
    yield {"METRICS_PORT": str(settings.METRICS_PORT)}
    server.shutdown()
    server.server_close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", list(health.HEARTBEATS))
def test_a_container_is_healthy_while_its_heartbeats_are_fresh(name, metrics_environ):
    assert not health.answers(name, metrics_environ)

    beat_all(at=timezone.now())
    assert health.answers(name, metrics_environ)

    first = heartbeats.OF_PROCESS[name][0]
    heartbeats.Heartbeat.objects.filter(name=first).update(at=timezone.now() - timedelta(minutes=4))
    assert not health.answers(name, metrics_environ)
    assert not health.answers(name, {"METRICS_PORT": "9"})


@pytest.mark.django_db(transaction=True)
def test_the_metrics_port_shows_counts_too(metrics_environ):
    url = f"http://127.0.0.1:{metrics_environ['METRICS_PORT']}"

    assert requests.get(f"{url}/metrics", timeout=30).status_code == 200
    assert requests.get(f"{url}/health/nobody", timeout=30).status_code == 503


def test_containers_check_exactly_the_heartbeats_that_exist():
    asked = {beat for beats in heartbeats.OF_PROCESS.values() for beat in beats}

    assert set(heartbeats.OF_PROCESS) == set(health.HEARTBEATS)
    assert asked == {heartbeats.SWEEPER, *(heartbeats.CANARY + queue for queue in QUEUES)}


def test_a_probe_imports_no_library_that_is_slow_to_start():
    """A probe runs in every container every few seconds."""
    text = "import sys; import workers.health; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)

    packages = {module.partition(".")[0] for module in done.stdout.split()}
    assert not packages & {"django", "psycopg", "requests", "http", "asyncio", "celery", "ssl"}
