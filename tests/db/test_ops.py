"""The operations page: correct figures, for staff only."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone

from shop.accounts import User
from shop.cart_sync import SyncEvent, report_stale
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.db import redis_client
from shop.ops import cache, current, history, ranges
from shop.ops.rows import select
from shop.payments import cases, circuit_breaker, inbox, webhook_health
from shop.payments.gateway import OutcomeUnknown
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder
from shop.telemetry import heartbeats
from tasks.registry import QUEUES
from tests.support.api import Caller, refused
from tests.support.events import deliver
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    post_checkout,
    run,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "fresh")]

MINUTE = timedelta(minutes=1)


@pytest.fixture
def fresh():
    cache.forget()
    yield
    cache.forget()


@pytest.fixture
def staff(client):
    """A staff user without a group: being staff is enough to see the page."""
    client.force_login(User.objects.create(email="viewer@example.com", is_staff=True))
    return client


def hour(now: datetime) -> ranges.Range:
    return ranges.read({"range": "1h"}, now=now + MINUTE)


def paid(gateway, standin, *, now):
    """A checkout paid a minute after its POST, by webhook."""
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id)
    deliver(payment, now=now + MINUTE)
    run(ReconcileWebhook(), now=now + MINUTE)
    return job


# --- access --------------------------------------------------------------------------------------


def test_staff_see_the_page_and_the_figures(staff):
    assert staff.get(reverse("ops")).status_code == 200
    assert staff.get(reverse("ops_data")).json()["span"]["name"] == "1h"
    assert staff.get(reverse("ops_table", args=["series"])).status_code == 200


def test_an_anonymous_user_is_sent_to_the_login_page(client):
    answer = client.get(reverse("ops"), {"range": "24h"})

    assert answer.status_code == 302
    assert answer.url == "/admin/login/?next=/ops/%3Frange%3D24h"
    assert client.get(reverse("ops_data")).status_code == 401
    assert client.get(reverse("ops_table", args=["series"])).status_code == 302


def test_a_buyer_is_refused(client):
    client.force_login(User.objects.create(email="buyer@example.com"))

    assert client.get(reverse("ops")).status_code == 403
    assert client.get(reverse("ops_data")).status_code == 401
    assert client.get(reverse("ops_table", args=["stuck"])).status_code == 403


def test_nothing_can_be_posted(staff):
    assert staff.post(reverse("ops")).status_code == 405
    assert staff.post(reverse("ops_data")).status_code == 405


@pytest.mark.parametrize("wrong", [{"range": "1y"}, {"from": "soon"}, {"from": "2000-01-01"}])
def test_an_invalid_range_is_refused_with_a_sentence(staff, wrong):
    answer = staff.get(reverse("ops_data"), wrong)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_range")


# --- history -------------------------------------------------------------------------------------


def test_a_quiet_shop_has_no_figures_and_no_faults(staff):
    found = staff.get(reverse("ops_data"), {"range": "7d"}).json()

    assert found["span"]["left_out"] == []
    assert found["span"]["checkouts"]["success"] is None
    assert set(found["span"]["checkouts"]["series"]["started"]) == {0}


def test_each_checkout_is_counted_in_the_state_it_reached(gateway, standin, now):
    paid(gateway, standin, now=now)
    make_payable(make_checkout(now=now), gateway, now=now)
    start.cancel(**_owner_of(make_checkout(now=now)), now=now)
    place_order(make_checkout(make_variant(on_hand=0), now=now), now=now)

    found = history.checkouts(hour(now + 2 * MINUTE))

    totals = {"started": 4, "payable": 2, "paid": 1, "failed": 1, "expired": 0, "cancelled": 1}
    assert found["totals"] == totals
    assert found["success"] == pytest.approx(1 / 3)
    assert found["funnel"]["payable_of_started"] == 0.5
    assert found["funnel"]["paid_of_payable"] == 0.5


def _owner_of(job: CheckoutJob) -> dict:
    return {"owner_id": job.owner_id, "job_id": job.pk}


def test_a_bucket_counts_the_checkouts_that_started_in_it(now):
    span = hour(now)
    for ago in (0, 1, 1, 59):
        make_checkout(now=now - ago * MINUTE)
    make_checkout(now=now - 61 * MINUTE)

    started = history.checkouts(span)["series"]["started"]

    assert {n: count for n, count in enumerate(started) if count} == {0: 1, 58: 2, 59: 1}


def test_a_payable_checkout_that_ended_unpaid_is_abandoned(gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    make_payable(make_checkout(now=now), gateway, now=now)
    start.cancel(**_owner_of(job), now=now)
    start.cancel(**_owner_of(make_checkout(now=now)), now=now)  # was never payable

    assert history.checkouts(hour(now))["funnel"]["abandoned_of_payable"] == 0.5


def test_reasons_are_counted_by_code(now):
    for _ in range(2):
        place_order(make_checkout(make_variant(on_hand=0), now=now), now=now)
    start.cancel(**_owner_of(make_checkout(now=now)), now=now)

    assert history.reasons(hour(now)) == [
        {"ended": "failed", "reason": "out_of_stock", "checkouts": 2},
        {"ended": "cancelled", "reason": "cancelled by the buyer", "checkouts": 1},
    ]


def test_times_are_percentiles_since_the_post(gateway, standin, now):
    paid(gateway, standin, now=now)

    found = history.times(hour(now + 2 * MINUTE))

    assert found["payable"]["checkouts"] == 1
    assert (found["paid"]["p50"], found["paid"]["p99"]) == (60, 60)
    assert [p95 for p95 in found["paid"]["series"]["p95"] if p95 is not None] == [60]


def test_webhooks_have_delays_and_missed_captures(gateway, standin, now):
    paid(gateway, standin, now=now - MINUTE)
    deliver({"id": "pay_2", "status": "captured"}, now=now - timedelta(seconds=30))

    found = history.webhooks(hour(now))

    assert (found["received"], found["handled"]) == (2, 1)
    assert found["handling_p95"] == 0
    assert found["delivery_p50"] is not None
    assert (found["captured_by_webhook"], found["missed"]) == (1, 0)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"created_at": "x"}', b"[" * 100_000])
def test_a_webhook_body_without_a_time_is_skipped(now, body):
    inbox.receive(event_id="event", body=body, now=now)

    assert history.webhooks(hour(now))["delivery_p50"] is None


# --- carts ---------------------------------------------------------------------------------------


def test_an_attempt_on_an_empty_cart_is_counted_and_leaves_no_checkout(now):
    buyer = make_buyer(now=now)

    for _ in range(2):
        with pytest.raises(start.CartEmpty):
            post_checkout(buyer, now=now, key="k")

    found = history.carts(hour(now))
    assert found["empty_attempts"] == 2
    assert sum(found["series"]["refused"]) == 2
    assert not CheckoutJob.objects.exists()
    assert not start.IdempotencyKey.objects.exists()


def test_an_attempt_on_a_cart_that_changed_is_counted(now):
    buyer = make_buyer(now=now)
    fill_cart(buyer, make_variant(), now=now)

    with pytest.raises(start.CartChanged):
        post_checkout(buyer, now=now, seen=start.ClientView(cart_version=99))

    assert history.carts(hour(now))["changed_attempts"] == 1


def test_a_refusal_that_cannot_be_counted_is_still_a_refusal(now, monkeypatch):
    def fail(**_fields: object) -> None:
        raise OperationalError("unavailable")

    monkeypatch.setattr(SyncEvent.objects, "create", fail)

    with pytest.raises(start.CartEmpty):
        post_checkout(make_buyer(now=now), now=now)


def test_a_storefront_cannot_send_the_kinds_of_our_refusals():
    response = Caller.guest().post("/api/cart/sync-events/", {"kind": "refused:cart_empty"})

    refused(response, 400, "invalid")


def test_carts_are_followed_by_session(now):
    buyer = make_buyer(now=now)
    cart = fill_cart(buyer, make_variant(), quantity=3, now=now)
    report_stale(
        buyer.pk,
        kind="stale_total",
        cart_id_seen=cart.cart_id,
        cart_version_seen=1,
        detail="",
        now=now,
    )
    post_checkout(buyer, now=now)
    fill_cart(make_buyer(now=now), make_variant(), now=now)

    found = history.carts(hour(now))

    assert (found["active"], found["posted"], found["stale_reports"]) == (2, 1, 1)
    [session] = found["sessions"]
    assert (session["session"], session["cart"], session["units"]) == (buyer.pk, cart.cart_id, 3)
    assert (session["stale"], session["refused"], session["checkout"]) == (1, 0, "queued")


# --- current state -------------------------------------------------------------------------------


def test_waiting_work_is_shown_by_step(now):
    make_checkout(now=now)
    deliver({"id": "pay_1", "status": "captured"}, now=now)

    steps = {row["step"]: row for row in current.current(now=now)["steps"]}

    assert (steps["validate_cart"]["due"], steps["validate_cart"]["oldest_due_at"]) == (1, now)
    assert steps["reconcile_webhook"]["due"] == 1
    assert steps["create_order"]["waiting"] == 0


def test_messages_are_counted_and_an_unavailable_redis_shows(redis):
    redis.rpush("gateway", "x", "y")
    assert {"queue": "gateway", "messages": 2} in current.queues()

    redis_client.avoid(ConnectionError("gone"))
    assert current.queues() is None
    assert current.webhooks(now=timezone.now())["forged"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "no worker takes it"),
        ({"claim": "00000000-0000-0000-0000-000000000001"}, "its worker died or hangs"),
        ({"attempts": 4}, "the step raises"),
        ({"attempts": 4, "state": "ordered"}, "Razorpay does not create its order"),
    ],
)
def test_a_stuck_checkout_has_a_reason(now, changes, reason):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(**changes)

    found = current.stuck(now=now + MINUTE)

    assert found["count"] == 1
    assert (found["rows"][0]["checkout"], found["rows"][0]["reason"]) == (str(job.pk), reason)


def test_stuck_checkouts_are_counted_by_reason_beyond_the_listed_ones(now, monkeypatch):
    monkeypatch.setattr(current, "MAX_ROWS", 1)
    jobs = [make_checkout(now=now + n * MINUTE) for n in range(4)]
    CheckoutJob.objects.filter(pk=jobs[0].pk).update(attempts=3)
    CheckoutJob.objects.filter(pk__in=[jobs[1].pk, jobs[3].pk]).update(attempts=9, state="ordered")

    found = current.stuck(now=now + 5 * MINUTE)

    assert found["reasons"] == [
        {
            "reason": "Razorpay does not create its order",
            "count": 2,
            "oldest_at": jobs[1].created_at,
        },
        {"reason": "the step raises", "count": 1, "oldest_at": jobs[0].created_at},
        {"reason": "no worker takes it", "count": 1, "oldest_at": jobs[2].created_at},
    ]
    assert (found["count"], len(found["rows"])) == (4, 1)


def test_held_units_are_shown_and_holds_past_their_end(gateway, now):
    variant = make_variant(on_hand=5)
    job = make_payable(make_checkout(variant, quantity=2, now=now), gateway, now=now)

    found = current.stock(now=now)
    assert found["held_units"] == 2
    assert found["top"] == [
        {"sku": variant.sku, "name": variant.product.name, "held": 2, "on_hand": 5}
    ]
    assert found["lapsed_holds"] == 0
    late = current.stock(now=job.expires_at + timedelta(minutes=7))
    assert (late["lapsed_holds"], late["lapsed_units"]) == (1, 2)


def test_all_that_needs_a_person_is_listed(gateway, now, redis):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    case = cases.Open(job.order_id, cases.CaseKind.DISPUTE, "disp_1", "a bank wants money back")
    cases.open_cases([case], now=now)
    make_checkout(now=now)
    deliver({"id": "pay_1", "status": "captured"}, now=now)
    InboxEvent.objects.update(due_at=None)
    circuit_breaker.record_results(
        [(str(n), OutcomeUnknown("no answer")) for n in range(9)], now=now + MINUTE
    )
    for _ in range(3):
        webhook_health.count_forged()

    found = current.current(now=now + MINUTE)

    texts = " · ".join(row["text"] for row in found["attention"])
    for part in (
        "1 open case",
        "1 webhook dead or unreadable",
        "1 checkout stuck",
        "breaker is open",
    ):
        assert part in texts
    assert found["webhooks"]["forged"] == 3


def test_nothing_is_listed_if_nothing_needs_a_person(now):
    for name in (heartbeats.SWEEPER, *(heartbeats.CANARY + queue for queue in QUEUES)):
        heartbeats.beat(name, now=now)

    assert current.current(now=now)["attention"] == []


# --- cache and CSV -------------------------------------------------------------------------------


def test_a_figure_that_takes_too_long_is_left_out_and_named(staff, monkeypatch):
    monkeypatch.setattr(cache, "STATEMENT_TIMEOUT_MS", 20)
    slow = {"times": lambda _span: select("SELECT pg_sleep(2)")}
    monkeypatch.setattr(cache, "PARTS", {**cache.PARTS, **slow})

    found = staff.get(reverse("ops_data")).json()

    assert found["span"]["left_out"] == ["times"]
    assert found["span"]["times"] is None
    assert found["span"]["carts"] is not None


def test_figures_are_cached_for_a_moment(staff, django_assert_num_queries):
    staff.get(reverse("ops_data"))

    with django_assert_num_queries(2):  # the session and its user
        staff.get(reverse("ops_data"))


def test_figures_are_served_stale_while_they_are_read_but_not_for_long():
    entry = cache._entries["x"] = cache._Entry(found={"n": 1}, fresh_until=time.monotonic() - 1)
    with ThreadPoolExecutor(1) as thread:
        with entry.lock:  # another thread reads
            assert cache._cached("x", 60, lambda: {"n": 2}) == {"n": 1}

            entry.fresh_until -= cache.MAX_STALE_SECONDS
            waiting = thread.submit(cache._cached, "x", 60, lambda: {"n": 2})
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)

        assert waiting.result(timeout=30) == {"n": 2}


def test_a_failed_read_is_told_to_all_who_waited_and_not_tried_by_each():
    tries = []

    def fail():
        tries.append(1)
        raise OperationalError("the server does not answer")

    for _ in range(3):
        with pytest.raises(OperationalError, match="does not answer"):
            cache._cached("x", 60, fail)
    assert len(tries) == 1

    cache._entries["x"].fresh_until = time.monotonic()
    assert cache._cached("x", 60, lambda: {"n": 1}) == {"n": 1}


def test_the_number_of_queries_does_not_grow_with_the_shop(now, django_assert_max_num_queries):
    for _ in range(5):
        make_checkout(now=now)
    run(VALIDATE_CART, now=now)

    with django_assert_max_num_queries(60):
        cache.read(hour(now), now=now)


def test_a_csv_has_no_cell_that_a_spreadsheet_runs(staff):
    now = timezone.now() - timedelta(minutes=2)
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(last_error="=HYPERLINK(1)", attempts=4)

    answer = staff.get(reverse("ops_table", args=["stuck"]))

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer["Content-Disposition"]
    header, row = answer.content.decode().splitlines()
    assert header.startswith("checkout,order,state,reason")
    assert row.startswith(str(job.pk))
    assert row.endswith("'=HYPERLINK(1)")


def test_the_series_has_a_row_for_each_bucket(staff):
    make_checkout(now=timezone.now())

    lines = staff.get(reverse("ops_table", args=["series"])).content.decode().splitlines()

    assert lines[0].startswith("from,bucket_seconds,started,payable,paid")
    assert sum(int(line.split(",")[2]) for line in lines[1:]) == 1
    assert len(lines) in {61, 62}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("figures", "checkouts.totals.paid,1"),
        ("figures", "checkouts.funnel.payable,1"),
        ("figures", "times.paid.p99,60.0"),
        ("figures", "webhooks.missed,0"),
        ("figures", "carts.empty_attempts,0"),
        ("figures", "now.breaker.state,closed"),
        ("figures", "now.webhooks.forged,0"),
        ("figures", "queue_messages.gateway,0"),
        ("steps", "create_order,0,0,"),
        ("money", "case,dispute,1,"),
        ("stock", ",Jar,1,10"),
    ],
)
def test_the_figures_of_the_page_are_in_the_csv(name, line, staff, gateway, standin):
    now = timezone.now() - timedelta(minutes=2)
    job = paid(gateway, standin, now=now)
    case = cases.Open(job.order_id, cases.CaseKind.DISPUTE, "disp_1", "a bank wants money back")
    cases.open_cases([case], now=now)
    place_order(make_checkout(make_variant(name="Jar"), now=now), now=now)

    lines = staff.get(reverse("ops_table", args=[name])).content.decode().splitlines()

    assert any(line in written for written in lines), lines


def test_there_is_no_table_of_another_name(staff):
    assert staff.get(reverse("ops_table", args=["secrets"])).status_code == 404


def test_no_buyer_is_named_in_the_figures(staff, gateway, standin):
    job = make_payable(make_checkout(now=timezone.now()), gateway, now=timezone.now())
    CheckoutJob.objects.filter(pk=job.pk).update(email="asha@example.com", attempts=5)

    found = json.dumps(staff.get(reverse("ops_data")).json())

    assert "asha@example.com" not in found
    assert "Asha" not in found
    assert Transition.objects.filter(job=job).exists()
