"""A row that raises does not stop others; a worker that lost its claim changes nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import OperationalError, transaction

from shop.checkout import jobs
from shop.checkout.jobs import MAX_ATTEMPTS, CheckoutJob
from shop.checkout.outcomes import Advance, Counted, RunReport, Wait
from shop.checkout.states import InvalidTransition, State
from shop.checkout.steps import base, runner, validate_cart
from shop.checkout.steps.validate_cart import VALIDATE_CART
from tests.support.shop import make_checkout, place_order, reload, run

pytestmark = pytest.mark.django_db


def broken_for(bad: CheckoutJob) -> base.JobStep:
    """`validate_cart`, with an injected error for one job."""

    def decide(batch, now):
        if bad.pk in {job.pk for job in batch}:
            raise ZeroDivisionError("a bug")
        return validate_cart.validate_cart(batch, now)

    return base.JobStep("validate_cart", State.QUEUED, decide)


def test_a_job_that_raises_does_not_stop_its_neighbours(now):
    neighbours = [make_checkout(now=now) for _ in range(3)]
    bad = make_checkout(now=now)

    run(broken_for(bad), now=now)

    assert {reload(job).state for job in neighbours} == {State.VALIDATED}
    assert reload(bad).state == State.QUEUED


def test_a_job_that_raises_counts_an_attempt_and_backs_off(now):
    bad = make_checkout(now=now)

    run(broken_for(bad), now=now)

    bad = reload(bad)
    assert bad.attempts == 1
    assert bad.due_at == now + timedelta(seconds=1)
    assert "ZeroDivisionError: a bug" in bad.last_error


def test_a_job_that_keeps_raising_fails_with_its_traceback_kept(now):
    bad = make_checkout(now=now)

    for attempt in range(MAX_ATTEMPTS):
        run(broken_for(bad), now=now + attempt * timedelta(minutes=2))

    bad = reload(bad)
    assert (bad.state, bad.error_code) == (State.FAILED, "internal_error")
    assert "ZeroDivisionError: a bug" in bad.last_error
    assert "a bug" not in bad.error_message


def test_an_unavailable_database_counts_no_attempt(now):
    job = make_checkout(now=now)

    def unavailable(batch, now):
        raise OperationalError("gone")

    with pytest.raises(OperationalError):
        run(base.JobStep("validate_cart", State.QUEUED, unavailable), now=now)

    assert (reload(job).attempts, reload(job).due_at) == (0, now)


def test_a_full_batch_notifies_again(now, settings):
    settings.BATCH_SIZE = 2
    for _ in range(3):
        make_checkout(now=now)
    calls = []

    runner.run_local(VALIDATE_CART, now=now, on_full_batch=lambda: calls.append(1))
    runner.run_local(VALIDATE_CART, now=now, on_full_batch=lambda: calls.append(1))

    assert calls == [1]


def test_a_job_that_is_not_due_yet_is_not_processed(now):
    job = make_checkout(now=now)

    run(VALIDATE_CART, now=now - timedelta(seconds=1))

    assert reload(job).state == State.QUEUED


def test_a_worker_whose_claim_lapsed_cannot_change_the_job(now):
    place_order(make_checkout(now=now), now=now)
    [slow] = jobs.claim_due(State.ORDERED, limit=1, now=now)
    after_lapse = now + timedelta(hours=1)
    [taken_over] = jobs.claim_due(State.ORDERED, limit=1, now=after_lapse)

    report = jobs.apply([(slow, Advance(State.AWAITING_PAYMENT, "woke up late"))], now=after_lapse)

    assert report.counts[Counted.LOST] == 1
    assert reload(slow).state == State.ORDERED
    assert reload(slow).claim == taken_over.claim


def test_a_worker_cannot_change_a_job_that_left_the_state_it_read(now):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state=State.CANCELLED)

    report = jobs.apply([(job, Advance(State.VALIDATED, "too late"))], now=now)

    assert report.counts[Counted.LOST] == 1
    assert reload(job).state == State.CANCELLED
    assert not job.transitions.exists()


def test_a_claimed_job_is_due_again_when_the_claim_ends(now, settings):
    place_order(make_checkout(now=now), now=now)
    jobs.claim_due(State.ORDERED, limit=1, now=now)
    lapse = now + timedelta(seconds=settings.CLAIM_SECONDS)

    assert not jobs.lock_due(State.ORDERED, limit=1, now=lapse - timedelta(seconds=1))
    assert jobs.lock_due(State.ORDERED, limit=1, now=lapse)


def test_a_transition_the_table_does_not_have_is_refused(now):
    job = make_checkout(now=now)

    with pytest.raises(InvalidTransition), transaction.atomic():
        jobs.apply([(job, Advance(State.PAID, "for free"))], now=now)


def test_waiting_shows_the_buyer_a_sentence_and_a_new_version(now):
    job = make_checkout(now=now)

    jobs.apply([(job, Wait(now + timedelta(seconds=5), "Please be patient."))], now=now)

    after = reload(job)
    assert after.waiting_for == "Please be patient."
    assert after.version == job.version + 1


def test_the_result_line_names_the_checkouts_and_what_became_of_them(now):
    job = make_checkout(now=now)

    report = run(VALIDATE_CART, now=now)

    assert report.summary() == f"advanced 1: {job.pk}"


class TwoCalls(runner.RemoteStep):
    """A remote step whose second answer comes well after the first."""

    name = "two_calls"

    def __init__(self, *, failing_tries: int) -> None:
        self.failing_tries = failing_tries  # to record the first answer
        self.recorded: list[str] = []

    def claim(self, *, limit, now):
        return ["first", "second"]

    def call(self, gateway, work):
        time.sleep(0 if work == "first" else 10 * runner.GATHER_SECONDS)
        return f"answer to the {work}"

    def order_of(self, work):
        return 1 if work == "first" else 2

    def on_gateway_unavailable(self, *, now):
        raise AssertionError("the gateway is well")

    def record(self, answers, *, now):
        if answers[0][0] == "first" and self.failing_tries:
            self.failing_tries -= 1
            raise OperationalError("deadlock detected")
        self.recorded += [answer for _, answer in answers]
        return RunReport()


def run_two_calls(step: TwoCalls, *, now: datetime) -> None:
    with ThreadPoolExecutor(2) as threads:
        runner.run_remote(
            step, gateway=None, threads=threads, clock=lambda: now, on_full_batch=lambda: None
        )


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_could_not_be_recorded_is_recorded_again(now):
    step = TwoCalls(failing_tries=1)

    run_two_calls(step, now=now)

    assert step.recorded == ["answer to the first", "answer to the second"]


@pytest.mark.django_db(transaction=True)
def test_answers_that_cannot_be_recorded_do_not_lose_others(now):
    step = TwoCalls(failing_tries=2)

    with pytest.raises(OperationalError, match="deadlock"):
        run_two_calls(step, now=now)

    assert step.recorded == ["answer to the second"]
