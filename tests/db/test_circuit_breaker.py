"""The circuit breaker and the rate limit: all workers slow down together, and one call probes."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from shop.checkout.states import State
from shop.checkout.steps import runner
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.payments import circuit_breaker
from shop.payments.circuit_breaker import (
    BUYERS_PROBE_CALLS,
    LIMIT_PROBE_EVERY,
    MIN_OPEN,
    OPENS_AFTER,
    BreakerState,
    BreakerStatus,
)
from shop.payments.gateway import Busy, Declined, NothingAsked, OutcomeUnknown, Unreachable
from tests.support.shop import (
    make_checkout,
    make_variant,
    place_order,
    reload,
    run_remote,
    stock_of,
)
from tests.support.threads import inline
from workers.sweeper import sweep

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

STEP = CreateRazorpayOrder()
NO_ANSWER = OutcomeUnknown("no answer")
LIMITED = Unreachable("asked too often", retry_after_seconds=7, is_rate_limit=True)
LIMITED_LONG = Unreachable("asked too often", retry_after_seconds=60, is_rate_limit=True)


def consume(wanted: int, *, for_buyers: bool = False, now: datetime) -> int:
    allowed = circuit_breaker.acquire(wanted, for_buyers=for_buyers, now=now)
    circuit_breaker.consume(allowed, allowed.calls, now=now)
    return allowed.calls


def record(answers: Sequence[object], *, now: datetime, **options: bool) -> None:
    """Each answer is about an entity of its own."""
    circuit_breaker.record_results(
        [(str(n), answer) for n, answer in enumerate(answers)], now=now, **options
    )


def test_a_working_gateway_gets_all_calls(now):
    assert consume(32, now=now) == 32


def test_no_more_calls_go_out_than_the_budget_of_a_second(now, settings):
    settings.GATEWAY_REQUESTS_PER_SECOND = 10

    assert [consume(8, for_buyers=True, now=now) for _ in range(3)] == [8, 2, 0]
    assert consume(8, for_buyers=True, now=now + timedelta(seconds=1)) == 8


def test_half_of_the_budget_is_kept_for_buyers(now, settings):
    settings.GATEWAY_REQUESTS_PER_SECOND = 10

    assert [consume(8, now=now) for _ in range(2)] == [5, 0]
    assert consume(8, for_buyers=True, now=now) == 5
    moments = [now + timedelta(seconds=n / 10) for n in range(1, 41)]
    assert sum(consume(8, now=at) for at in moments) >= 34  # all but what is kept


def test_calls_that_are_not_made_are_not_consumed(now, settings):
    settings.GATEWAY_REQUESTS_PER_SECOND = 10

    for _ in range(20):
        circuit_breaker.consume(circuit_breaker.acquire(8, for_buyers=True, now=now), 0, now=now)

    assert consume(8, for_buyers=True, now=now) == 8


def test_unanswered_calls_open_the_breaker(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)

    assert consume(32, now=now + timedelta(seconds=1)) == 0


def test_an_unanswered_look_up_counts_as_an_unanswered_call(now):
    record([NothingAsked(NO_ANSWER)] * OPENS_AFTER, now=now)

    assert consume(32, now=now + timedelta(seconds=1)) == 0


def test_calls_about_one_entity_count_once(now):
    for _ in range(20):
        circuit_breaker.record_results([("order 1", NO_ANSWER), ("order 2", NO_ANSWER)], now=now)

    assert consume(32, now=now) == 32


def test_an_operation_in_progress_is_an_answer(now):
    record([Busy("another payment operation is in progress")] * 20, now=now)

    assert consume(32, now=now) == 32


def test_calls_for_buyers_do_not_wait_for_failed_polls(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)
    now += MIN_OPEN
    for _ in range(5):  # nobody buys, and polls that probe get no answer
        assert consume(32, now=now) == 1
        record([NO_ANSWER], now=now)
        now = circuit_breaker.CircuitBreaker.objects.get().open_until
    now -= timedelta(seconds=1)
    assert consume(32, now=now) == 0

    assert consume(32, for_buyers=True, now=now) == BUYERS_PROBE_CALLS


def test_while_buyers_wait_an_open_breaker_is_probed_every_few_seconds(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)
    sent = []
    for _ in range(60):
        now += timedelta(seconds=1)
        if calls := consume(32, for_buyers=True, now=now):
            sent.append(calls)
            record([NO_ANSWER] * calls, now=now)

    assert sent == [BUYERS_PROBE_CALLS] * 20


def test_an_answer_to_a_probe_for_buyers_closes_the_breaker_for_all(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)
    now += MIN_OPEN
    consume(32, for_buyers=True, now=now)

    record([object()], now=now)

    assert consume(32, now=now) == 32


def test_failed_probes_for_buyers_do_not_delay_probes_by_polls(now):
    """Orders cannot be created, for example, while payments can be read."""
    record([NO_ANSWER] * OPENS_AFTER, now=now)
    polls = 0
    for _ in range(60):
        now += timedelta(seconds=1)
        if calls := consume(32, for_buyers=True, now=now):
            record([NO_ANSWER] * calls, for_buyers=True, now=now)
        if consume(32, now=now):
            polls += 1
            record([NO_ANSWER], now=now)

    assert polls == 4  # after 2, 4, 8 and 16 seconds


def test_a_half_open_breaker_lets_one_call_probe(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)
    later = now + timedelta(seconds=3)

    assert [consume(32, now=later) for _ in range(2)] == [1, 0]


def test_an_answer_closes_the_breaker(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)

    record([object()], now=now + timedelta(seconds=3))

    assert consume(32, now=now + timedelta(seconds=3)) == 32


def test_a_refusal_is_an_answer(now):
    record([Declined("bad_request", "no")] * 20, now=now)

    assert consume(32, now=now) == 32


def test_thirty_concurrent_failures_open_the_breaker_for_no_longer_than_five(now):
    for _ in range(6):  # recorded as they came back
        record([NO_ANSWER] * OPENS_AFTER, now=now)

    assert consume(32, now=now + MIN_OPEN) == 1


def test_the_open_time_doubles_with_each_failed_probe_up_to_a_minute(now):
    record([NO_ANSWER] * OPENS_AFTER, now=now)
    pauses = []
    for _ in range(7):
        unavailable_until = circuit_breaker.CircuitBreaker.objects.get().open_until
        pauses.append((unavailable_until - now).total_seconds())
        now = unavailable_until
        assert consume(32, now=now) == 1
        record([NO_ANSWER], now=now)

    assert pauses == [2, 4, 8, 16, 32, 60, 60]


def test_a_429_limits_all_workers_for_as_long_as_it_says(now):
    record([LIMITED], now=now)

    assert consume(32, now=now + timedelta(seconds=6)) == 0
    assert consume(32, now=now + timedelta(seconds=7)) == 32


@pytest.mark.parametrize("answer", [object(), NO_ANSWER], ids=["good", "none"])
def test_answers_to_calls_sent_before_a_429_do_not_shorten_its_limit(answer, now):
    record([NO_ANSWER], now=now)
    record([LIMITED], now=now)

    for _ in range(OPENS_AFTER):
        record([answer], now=now)

    assert consume(32, now=now + timedelta(seconds=6)) == 0
    status = circuit_breaker.read(now=now + timedelta(seconds=6))
    assert status == BreakerStatus(BreakerState.OPEN, until=now + timedelta(seconds=7))
    assert consume(32, now=now + timedelta(seconds=7)) > 0


def test_calls_for_buyers_respect_a_short_limit(now):
    record([LIMITED], now=now)

    assert consume(32, for_buyers=True, now=now + timedelta(seconds=6)) == 0
    assert consume(32, for_buyers=True, now=now + timedelta(seconds=7)) == 32


def test_a_long_limit_is_probed_by_one_call_while_buyers_wait(now):
    record([LIMITED_LONG], now=now)
    probed = []
    for second in range(1, 60):
        at = now + timedelta(seconds=second)
        assert consume(32, now=at) == 0
        if calls := consume(32, for_buyers=True, now=at):
            probed.append((second, calls))

    assert probed == [(10, 1), (20, 1), (30, 1), (40, 1), (50, 1)]


def test_an_answer_to_the_probe_ends_the_limit(now):
    record([LIMITED_LONG], now=now)
    now += LIMIT_PROBE_EVERY
    allowed = circuit_breaker.acquire(32, for_buyers=True, now=now)
    circuit_breaker.consume(allowed, allowed.calls, now=now)

    record([object()], ends_limit=allowed.is_past_limit, now=now)

    assert consume(32, now=now) == 32


def test_a_waiting_checkout_is_the_probe_of_a_long_limit(standin, gateway, now):
    """One answer must not stop all calls while buyers wait."""
    job = place_order(make_checkout(now=now), now=now)
    standin.set_faults(
        {"kind": "too_many_requests", "route": "orders.create", "retry_after_seconds": 3600}
    )
    run_remote(STEP, gateway, now=now)

    run_remote(STEP, gateway, now=now + timedelta(seconds=9))
    assert reload(job).state == State.ORDERED
    run_remote(STEP, gateway, now=now + LIMIT_PROBE_EVERY)

    assert reload(job).state == State.AWAITING_PAYMENT
    assert circuit_breaker.read(now=now + LIMIT_PROBE_EVERY).state is BreakerState.CLOSED


def test_a_checkout_says_why_it_waits_and_continues_by_itself(gateway, standin, now):
    job = place_order(make_checkout(now=now), now=now)
    record([NO_ANSWER] * OPENS_AFTER, now=now)

    run_remote(STEP, gateway, now=now + timedelta(seconds=1))
    assert "does not answer" in reload(job).waiting_for
    assert "orders.create" not in standin.requests()

    run_remote(STEP, gateway, now=now + timedelta(seconds=3))
    assert reload(job).state == State.AWAITING_PAYMENT


def test_a_checkout_does_not_mention_a_budget_that_is_used_up(gateway, now, settings):
    """The budget is refilled a moment later."""
    settings.GATEWAY_REQUESTS_PER_SECOND = 1
    jobs = [place_order(make_checkout(now=now), now=now) for _ in range(2)]
    full_batches: list[None] = []

    def run_step() -> None:
        runner.run_remote(
            STEP,
            gateway=gateway,
            threads=inline(),
            clock=lambda: now,
            on_full_batch=lambda: full_batches.append(None),
        )

    run_step()
    assert len(full_batches) == 1
    run_step()

    assert len(full_batches) == 2
    assert sorted(reload(job).state for job in jobs) == [State.AWAITING_PAYMENT, State.ORDERED]
    assert {reload(job).waiting_for for job in jobs} == {""}


def test_no_full_batch_is_reported_while_the_breaker_is_open(gateway, now):
    place_order(make_checkout(now=now), now=now)
    record([LIMITED], now=now)

    runner.run_remote(
        STEP, gateway=gateway, threads=inline(), clock=lambda: now, on_full_batch=pytest.fail
    )


def test_units_are_held_no_longer_while_the_gateway_is_unavailable(gateway, now, settings):
    variant = make_variant()
    job = place_order(make_checkout(variant, now=now), now=now)
    for_an_hour = Unreachable("asked too often", retry_after_seconds=3600, is_rate_limit=True)
    record([for_an_hour], now=now)
    held_until = now + timedelta(seconds=settings.HOLD_SECONDS)

    sweep(now=held_until - timedelta(seconds=1))
    assert reload(job).state == State.ORDERED
    sweep(now=held_until)

    job = reload(job)
    assert (job.state, job.error_code) == (State.FAILED, "gateway_unavailable")
    assert stock_of(variant) == (10, 0)
