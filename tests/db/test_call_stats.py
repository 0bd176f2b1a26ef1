"""Calls to the gateway are counted by the minute, and counting troubles nobody."""

from datetime import timedelta

import pytest
from django.db import OperationalError

from shop.checkout.outcomes import RunReport
from shop.checkout.steps.runner import RemoteStep
from shop.payments import call_stats
from shop.payments.call_stats import BOUNDS_MS, GatewayMinute, Timed
from shop.payments.gateway import Declined, OutcomeUnknown
from tests.support.shop import make_checkout, make_payable, reload, run_remote
from tests.support.threads import all_at_once


def called(seconds: float, answer: object = "fine") -> Timed:
    return Timed(seconds, answer)


@pytest.mark.django_db
def test_batches_of_one_minute_add_up(now):
    call_stats.record("capture", [called(0.01), called(0.06)], now=now)
    call_stats.record("capture", [called(0.06)], now=now + timedelta(seconds=59))

    [row] = GatewayMinute.objects.all()

    assert (row.minute, row.operation, row.outcome) == (now, "capture", "ok")
    assert (row.calls, row.total_ms) == (3, 130)
    assert row.counts == [1, 0, 2] + [0] * (len(BOUNDS_MS) - 2)


@pytest.mark.django_db
def test_outcomes_and_minutes_are_kept_apart_in_one_statement(now, django_assert_num_queries):
    calls = [called(0.1), called(5, OutcomeUnknown("?")), called(0.1, Declined("no", "no"))]
    with django_assert_num_queries(1):
        call_stats.record("capture", calls, now=now)
    call_stats.record("capture", calls[:1], now=now + timedelta(minutes=1))

    rows = GatewayMinute.objects.order_by("minute", "outcome").values_list("outcome", "calls")

    assert list(rows) == [("declined", 1), ("ok", 1), ("unknown", 1), ("ok", 1)]


@pytest.mark.django_db
def test_no_calls_leave_no_row(now, django_assert_num_queries):
    with django_assert_num_queries(0):
        call_stats.record("capture", [], now=now)


@pytest.mark.django_db
def test_a_step_is_counted_once_for_all_its_calls(gateway, now):
    for _ in range(3):
        make_checkout(now=now)
    make_payable(make_checkout(now=now), gateway, now=now)

    assert GatewayMinute.objects.get().calls == 4


class Slow(RemoteStep):
    """A step with one piece of work, whose call is refused."""

    name = "slow"

    def claim(self, *, limit, now):
        return ["work"]

    def call(self, gateway, work):
        raise Declined("no", "no")

    def entity(self, work):
        return work

    def on_gateway_unavailable(self, *, now):
        raise AssertionError

    def record(self, answers, *, now):
        return RunReport()


@pytest.mark.django_db
def test_a_call_that_fails_is_counted_too(gateway, now):
    run_remote(Slow(), gateway, now=now)

    assert GatewayMinute.objects.get().outcome == "declined"


@pytest.mark.django_db
def test_a_count_that_cannot_be_written_holds_nobody_up(gateway, now, monkeypatch):
    def away():
        raise OperationalError("away")

    job = make_checkout(now=now)
    monkeypatch.setattr(call_stats.connection, "cursor", away, raising=False)
    call_stats.record("capture", [called(0.1)], now=now)
    monkeypatch.undo()

    assert not GatewayMinute.objects.exists()
    make_payable(job, gateway, now=now)
    assert reload(job).state == "awaiting_payment"


@pytest.mark.django_db(transaction=True)
def test_workers_that_count_at_once_lose_nothing(now):
    calls = [called(0.1), called(0.1, OutcomeUnknown("?"))]

    def work() -> None:
        for _ in range(20):
            call_stats.record("capture", calls, now=now)

    assert all_at_once(work, work, work, work) == [None] * 4

    assert dict(GatewayMinute.objects.values_list("outcome", "calls")) == {"ok": 80, "unknown": 80}
