"""What Prometheus reads: the current state of the rows, and the counts of the processes."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from shop import cart_sync
from shop.accounts import User
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.db import redis_client
from shop.ops import cache, current, metrics
from shop.payments import cases, circuit_breaker, inbox, polling
from shop.payments.gateway import OutcomeUnknown
from shop.payments.ledger import GatewayOrder, Payment
from shop.telemetry import heartbeats, metric_files
from tasks import checkout as checkout_tasks
from tests.support.events import deliver
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    post_checkout,
    reload,
    run,
    run_remote,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "fresh")]

Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def fresh():
    cache.forget()
    yield
    cache.forget()


def samples(text: str) -> Samples:
    """{(name, label values in the order of their names): value}"""
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(now=None) -> Samples:
    return samples(metrics.exposition(now=now or timezone.now()).decode())


# --- access ---


def test_without_a_token_metrics_are_for_developers(client, settings):
    settings.METRICS_TOKEN, settings.DEBUG = "", True
    assert client.get("/metrics").status_code == 200

    settings.DEBUG = False
    assert client.get("/metrics").status_code == 403


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer the-token-of-prometheus", 200),
        ("Bearer the-token", 403),
        ("Bearer ", 403),
        ("the-token-of-prometheus", 403),
        ("Bearer zürich", 403),
        ("", 403),
    ],
)
def test_with_a_token_set_metrics_require_it(client, settings, given, status):
    settings.METRICS_TOKEN, settings.DEBUG = "the-token-of-prometheus", True

    assert client.get("/metrics", HTTP_AUTHORIZATION=given).status_code == status


# --- the current state ---


def test_checkouts_are_counted_by_state_and_none_is_stuck(now):
    make_checkout(now=now)
    place_order(make_checkout(now=now), now=now)

    seen = scrape(now=now + timedelta(seconds=3))

    assert seen["pakka_checkouts", ("ordered",)] == 2
    assert seen["pakka_checkouts", ("queued",)] == 0
    assert seen["pakka_checkout_overdue_seconds", ("ordered",)] == 3
    assert sum(value for (name, _), value in seen.items() if name == "pakka_checkouts_stuck") == 0


def test_overdue_and_retrying_checkouts_are_stuck(now):
    for attempts in (0, 0, 5):
        job = make_checkout(now=now)
        CheckoutJob.objects.filter(pk=job.pk).update(
            attempts=attempts, due_at=now if attempts == 0 else now + timedelta(hours=1)
        )

    seen = scrape(now=now + timedelta(seconds=31))

    assert seen["pakka_checkouts_stuck", ("overdue", "queued")] == 2
    assert seen["pakka_checkouts_stuck", ("retrying", "queued")] == 1


def test_held_and_lapsed_units_are_counted(gateway, now):
    mug = make_variant()
    job = make_payable(make_checkout(mug, now=now, quantity=3), gateway, now=now)

    seen = scrape(now=now)
    assert (seen["pakka_stock_held_units", ()], seen["pakka_stock_lapsed_units", ()]) == (3, 0)

    cache.forget()
    seen = scrape(now=job.expires_at + timedelta(minutes=2))
    assert seen["pakka_stock_lapsed_units", ()] == 3


def test_open_cases_and_reviews_are_counted(gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    case = cases.Open(job.order_id, cases.CaseKind.DISPUTE, "disp_1", "a bank wants it back")
    cases.open_cases([case], now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state=State.IN_REVIEW)

    seen = scrape(now=now)

    assert seen["pakka_cases_open", ("dispute",)] == 1
    assert seen["pakka_cases_open", ("conflict",)] == 0
    assert seen["pakka_checkouts", ("in_review",)] == 1


def test_unconfirmed_refunds_have_an_age(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = Payment.objects.create(
        gateway_payment_id="pay_1",
        gateway_order=job.order.gateway_orders.get(),
        amount_paise=100,
        currency="INR",
        status="captured",
        first_reported_via="fetch",
        created_at=now,
        updated_at=now,
    )
    payment.refunds.create(amount_paise=100, reason="late", key="k", created_at=now, updated_at=now)

    seen = scrape(now=now + timedelta(hours=2))

    assert (seen["pakka_refunds", ("due",)], seen["pakka_refunds", ("failed",)]) == (1, 0)
    assert seen["pakka_refund_oldest_seconds", ("due",)] == 7200


def test_waiting_and_dead_webhooks_are_counted(now):
    for number in range(3):
        deliver({"id": f"pay_{number}", "status": "captured"}, now=now)
    event = inbox.InboxEvent.objects.all()[0]
    inbox.postpone(event, until=None, last_error="a bug", gateway_order_id="")

    seen = scrape(now=now + timedelta(seconds=7))

    assert (seen["pakka_webhooks", ("waiting",)], seen["pakka_webhooks", ("dead",)]) == (2, 1)
    assert seen["pakka_webhook_oldest_seconds", ()] == 7


def test_captures_without_webhooks_raise_an_alert(gateway, standin, now):
    jobs = [make_payable(make_checkout(now=now), gateway, now=now) for _ in range(3)]
    for job in jobs:
        standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id)
        polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)

    seen = scrape(now=now)

    assert seen["pakka_payments_captured_10m", ("fetch",)] == 3
    assert seen["pakka_webhooks_silent", ()] == 1


def test_the_breaker_is_in_one_state(now):
    circuit_breaker.record_results(
        [(str(n), OutcomeUnknown("no answer")) for n in range(9)], now=now
    )

    breaker = {
        labels: value for (name, labels), value in scrape(now=now).items() if "breaker" in name
    }

    assert breaker == {("closed",): 0, ("open",): 1, ("half_open",): 0}


def test_a_missing_heartbeat_has_an_infinite_age(now):
    heartbeats.beat(heartbeats.SWEEPER, now=now)

    seen = scrape(now=now + timedelta(seconds=4))

    assert seen["pakka_sweeper_age_seconds", ()] == 4
    assert seen["pakka_canary_age_seconds", ("gateway",)] == float("inf")


def test_queued_messages_and_forged_webhooks_are_counted(redis, client):
    redis.lpush("gateway", "a", "b")
    client.post("/api/webhooks/razorpay/", b"{}", content_type="application/json")

    seen = scrape()

    assert seen["pakka_queue_messages", ("gateway",)] == 2
    assert (seen["pakka_redis_up", ()], seen["pakka_webhooks_forged_total", ()]) == (1, 1)


def test_without_redis_the_other_metrics_are_shown(redis):
    redis_client.avoid(ConnectionError("gone"))
    try:
        seen = scrape()
    finally:
        redis_client.try_again()

    assert seen["pakka_redis_up", ()] == 0
    assert seen["pakka_postgres_up", ()] == 1


def test_without_postgres_the_other_metrics_are_shown(monkeypatch):
    from django.db import OperationalError

    def fail(**_):
        raise OperationalError("gone")

    monkeypatch.setattr(current, "stock", fail)

    seen = scrape()

    assert (seen["pakka_postgres_up", ()], seen["pakka_redis_up", ()]) == (0, 1)


def test_two_scrapes_in_a_row_query_postgres_once(now):
    scrape(now=now)

    with CaptureQueriesContext(connection) as queries:
        scrape(now=now)

    assert not queries.captured_queries


def test_a_scrape_reads_no_finished_rows(now):
    """An index can serve each of our own queries, so the size of the tables does not matter."""
    cache.forget()
    with CaptureQueriesContext(connection) as queries:
        list(metrics.gauges(now=now))

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in queries.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in (
                *("checkoutjob", "case", "refund", "inboxevent", "payment", "orderline", "cart"),
            ):
                assert f"Seq Scan on shop_{table}" not in plan, plan


# --- counts of the processes ---


@pytest.mark.django_db(transaction=True)
def test_transitions_and_their_times_are_counted(gateway, now):
    before = scrape()
    job = make_payable(make_checkout(now=now), gateway, now=now + timedelta(seconds=0))

    after = scrape()

    assert reload(job).state == "awaiting_payment"
    for name in ("pakka_checkout_transitions_total", "pakka_checkout_reached_seconds_count"):
        key = (name, ("awaiting_payment",))
        assert after[key] - before.get(key, 0) == 1


def test_requests_are_counted_by_route_and_never_by_path(client):
    for path in ("/api/checkouts/00000000-0000-0000-0000-000000000000/", "/no/such/page"):
        client.get(path)
    client.generic("FETCH", "/")

    names = {labels for (name, labels) in scrape() if name == "pakka_http_request_seconds_count"}

    assert ("GET", "api/checkouts/<uuid:job_id>/", "4xx") in names
    assert ("GET", "other", "4xx") in names
    assert ("other", "/", "4xx") in names or ("other", "/", "2xx") in names
    assert not [labels for labels in names if "0000" in str(labels) or "FETCH" in labels]


def test_gateway_calls_are_counted_by_operation_and_outcome(gateway, standin, now):
    before = scrape()
    make_payable(make_checkout(now=now), gateway, now=now)

    key = ("pakka_gateway_call_seconds_count", ("create_order", "ok"))
    assert scrape()[key] - before.get(key, 0) == 1


def test_carts_in_use_are_counted_by_kind_of_owner(now):
    fill_cart(make_buyer(now=now), make_variant(), now=now)
    fill_cart(make_buyer(now=now), make_variant(), now=now - timedelta(hours=2))
    account = User.objects.create(email="asha@example.com", created_at=now)
    fill_cart(account, make_variant(), now=now)

    found = scrape(now=now + timedelta(minutes=1))

    assert found["pakka_carts_used_1h", ("guest",)] == 1
    assert found["pakka_carts_used_1h", ("account",)] == 1


def test_stale_carts_are_counted_with_our_own_labels_only(now):
    before = scrape()
    buyer = make_buyer(now=now)
    for kind in ("reloaded", "a_word_of_theirs"):
        cart_sync.report_stale(
            buyer.pk, kind=kind, cart_id_seen=None, cart_version_seen=None, detail="", now=now
        )
    with pytest.raises(start.CartEmpty):
        post_checkout(buyer, now=now)

    grown = {
        labels: value - before.get((name, labels), 0)
        for (name, labels), value in scrape().items()
        if name == "pakka_cart_disagreements_total"
    }

    assert (grown.pop(("stale",)), grown.pop(("cart_empty",))) == (2, 1)
    assert {labels for labels, by in grown.items() if by} <= {("cart_changed",)}


@pytest.mark.django_db(transaction=True)
def test_the_delay_of_webhooks_is_measured_when_they_are_handled(now):
    before = scrape()
    deliver({"id": "pay_1", "status": "captured"}, now=now)

    run(ReconcileWebhook(), now=now + timedelta(seconds=40))

    after = scrape()
    for name, grown in (("count", 1), ("sum", 40)):
        key = (f"pakka_webhook_handled_seconds_{name}", ())
        assert after[key] - before.get(key, 0) == grown


def test_batches_of_tasks_are_counted(now):
    before = scrape()
    make_checkout(now=now)
    checkout_tasks.validate_cart(checkout_id="")

    key = ("pakka_task_batch_rows_count", ("checkout.validate_cart",))
    assert scrape()[key] - before.get(key, 0) == 1


COUNT = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from prometheus_client import Counter, Histogram
Counter("c", "text", ["label"]).labels("a").inc(2)
Histogram("h", "text", ["label"], buckets=(1, 2)).labels("a").observe(1.5)
"""


def test_counts_of_ended_processes_stay_and_their_files_do_not(tmp_path: Path):
    for _ in range(3):
        subprocess.run([sys.executable, "-c", COUNT, tmp_path], check=True)
    assert len(list(tmp_path.glob("*.db"))) == 6

    first, second = read(tmp_path), read(tmp_path)

    assert first == second
    assert first["c_total", ("a",)] == 6
    assert first["h_bucket", ("a", "2.0")] == first["h_count", ("a",)] == 3
    assert {file.name for file in tmp_path.glob("*.db")} == {"counter_gone.db", "histogram_gone.db"}


def test_counts_of_running_processes_stay_in_their_files(tmp_path: Path):
    living = subprocess.Popen(
        [sys.executable, "-c", f"{COUNT}\nprint(flush=True); input()", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert living.stdout
    living.stdout.readline()
    try:
        assert read(tmp_path)["c_total", ("a",)] == 2
        assert (tmp_path / f"counter_{living.pid}.db").exists()
    finally:
        living.communicate(b"\n")


def read(directory: Path) -> Samples:
    registry = CollectorRegistry()
    registry.register(metrics._Fixed(list(metric_files.read(directory))))
    return samples(metrics.generate_latest(registry).decode())
