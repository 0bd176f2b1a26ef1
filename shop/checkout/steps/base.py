"""
The parts that local steps over checkouts share: a batch of jobs in, one outcome per job out.

A step runs inside the one transaction that `runner.run_local` opens, so a crash rolls all of it
back. A step that runs again finds its work done, or does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from shop import orders
from shop.checkout import jobs
from shop.checkout.jobs import MAX_ATTEMPTS, CheckoutJob, retry_pause
from shop.checkout.outcomes import Fail, Outcome, RunReport, Wait
from shop.checkout.states import STATE_OF, TRANSITIONS, State, Step

OUR_FAULT = "Something went wrong on our side. Nothing was charged; please try again."

Decide = Callable[[Sequence[CheckoutJob], datetime], list[Outcome]]


@dataclass(frozen=True)
class JobStep:
    """A local step (`runner.LocalStep`) over the checkouts that are due in one state."""

    name: str
    state: State
    decide: Decide

    def lock_due(self, *, limit: int, now: datetime) -> list[CheckoutJob]:
        return jobs.lock_due(self.state, limit=limit, now=now)

    def process(self, items: Sequence[CheckoutJob], *, now: datetime) -> RunReport:
        return jobs.apply(list(zip(items, self.decide(items, now), strict=True)), now=now)

    def on_error(self, item: CheckoutJob, *, error: str, now: datetime) -> RunReport:
        item.attempts += 1
        if item.attempts < MAX_ATTEMPTS or State.FAILED not in TRANSITIONS[State(item.state)]:
            outcome: Outcome = Wait(now + retry_pause(item.attempts), last_error=error)
        else:
            outcome = Fail("internal_error", OUR_FAULT, last_error=error)
        return jobs.apply([(item, outcome)], now=now)

    def on_locked(self, item: CheckoutJob, *, until: datetime, now: datetime) -> RunReport:
        return jobs.apply([(item, Wait(until, item.waiting_for))], now=now)


def pipeline_step(step: Step, decide: Decide) -> JobStep:
    """The local step that handles the state which `STATES` gives to `step`."""
    return JobStep(step, STATE_OF[step], decide)


def out_of_stock(line: orders.FrozenLine, *, available: int) -> Fail:
    left = f"Only {available} left" if available > 0 else "None left"
    return Fail(
        "out_of_stock",
        f"{left} of {line.name}. Nothing was charged.",
        {"sku": line.sku, "wanted": line.units, "available": max(available, 0)},
    )


def payable_until(job: CheckoutJob, *, now: datetime) -> datetime:
    """The end of the time to pay: `HOLD_SECONDS` from now, or the end of the hold if earlier."""
    until = now + timedelta(seconds=settings.HOLD_SECONDS)
    return min(until, job.hold_until) if job.hold_until is not None else until
