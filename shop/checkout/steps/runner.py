"""
How steps run: local ones in one transaction, remote ones in short transactions around calls.

A run takes the rows that are due, up to a limit, and processes them as one batch.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from django.conf import settings
from django.db import (
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)

from shop.checkout import settle_failures
from shop.checkout.outcomes import RunReport
from shop.db import errors
from shop.payments import circuit_breaker
from shop.payments.gateway import (
    Gateway,
    GatewayError,
    OutcomeUnknown,
    refuse_inside_transaction,
)
from shop.telemetry import instruments
from shop.telemetry.redaction import redacted

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Work = TypeVar("Work")
Answer = TypeVar("Answer")
Clock = Callable[[], datetime]
OnFullBatch = Callable[[], None]

# The first answer waits this long for others, to be recorded with them; a lone one does not wait.
GATHER_SECONDS = 0.01

# Where items run one by one because of a locked row, each waits this long for a lock, so a batch of
# a hundred takes five seconds at most. Items still without their lock are due again later.
LOCK_WAIT_MS = 50
LOCKED_RETRY = timedelta(seconds=5)


class LocalStep(Protocol[Item]):
    """A step that needs nothing but our database."""

    @property
    def name(self) -> str: ...

    def lock_due(self, *, limit: int, now: datetime) -> list[Item]:
        """The due items, longest due first, locked. Items locked by others are skipped."""

    def process(self, items: Sequence[Item], *, now: datetime) -> RunReport:
        """Do the step for all items, or raise."""

    def on_error(self, item: Item, *, error: str, now: datetime) -> RunReport:
        """The step raised for this item: count an attempt, and retry later or give up."""

    def on_locked(self, item: Item, *, until: datetime, now: datetime) -> RunReport:
        """Another transaction holds a row of this item: retry at `until`. Counts no attempt."""


def run_local(step: LocalStep[Item], *, now: datetime, on_full_batch: OnFullBatch) -> RunReport:
    """
    Run `step` for its due items, in one transaction.

    `on_full_batch` is called, before the work, if there may be more than one batch. If the batch
    raises, or waits for a lock for too long, its items run one by one, so that an item that raises
    or needs a locked row cannot stop the others.

    :raises OperationalError, InterfaceError: the database is unavailable, or cancelled a statement
        that took too long. This counts no attempt; all items stay due.
    """
    try:
        return _run_batch(step, now=now, on_full_batch=on_full_batch)
    except (OperationalError, InterfaceError) as error:
        if not errors.is_locked(error):
            raise
        logger.warning("a batch of %s needs a locked row; running one by one: %s", step.name, error)
        return _run_one_by_one(step, now=now)
    except Exception:  # a step can raise anything, and must not stop the other items
        logger.exception("a batch of %s raised; running one by one", step.name)
        return _run_one_by_one(step, now=now)


def _run_batch(step: LocalStep[Item], *, now: datetime, on_full_batch: OnFullBatch) -> RunReport:
    limit = settings.BATCH_SIZE
    with transaction.atomic():
        due = step.lock_due(limit=limit, now=now)
        if len(due) == limit:
            on_full_batch()
        report = step.process(due, now=now) if due else RunReport()
    report.rows = len(due)
    return report


def _run_one_by_one(step: LocalStep[Item], *, now: datetime) -> RunReport:
    report = RunReport()
    for _ in range(settings.BATCH_SIZE):
        with transaction.atomic():
            errors.wait_briefly(LOCK_WAIT_MS)
            due = step.lock_due(limit=1, now=now)
            if not due:
                break
            report.add(_run_one(step, due[0], now=now))
            report.rows += 1
    return report


def _run_one(step: LocalStep[Item], item: Item, *, now: datetime) -> RunReport:
    try:
        with transaction.atomic():
            report = step.process([item], now=now)
            connection.check_constraints()  # foreign keys would be checked at the last commit
            return report
    except (OperationalError, InterfaceError) as error:
        if not errors.is_locked(error):
            raise
        logger.warning("%s postpones %s, which needs a locked row: %s", step.name, item, error)
        instruments.LOCKED.labels(step.name).inc()
        return step.on_locked(item, until=now + LOCKED_RETRY, now=now)
    except Exception:  # see run_local
        logger.exception("%s raised for %s", step.name, item)
        return step.on_error(item, error=redacted(traceback.format_exc()), now=now)


class RemoteStep(Protocol[Work, Answer]):
    """A step that calls the gateway, in three phases: claim, call, record."""

    name: str
    reports_money: bool = False  # its answers are settled; where that raises, a case is opened
    for_buyers: bool = False  # buyers wait for it: see `circuit_breaker.acquire`

    def claim(self, *, limit: int, now: datetime) -> list[Work]:
        """Claim due work, so that no other worker takes it. Runs in a short transaction."""

    def call(self, gateway: Gateway, work: Work) -> Answer:
        """Call the gateway. Runs outside any transaction, in a thread, without the database."""

    def probe(self, gateway: Gateway, work: Work) -> Answer:
        """As `call`, while calls go unanswered: reads first where a lost answer is costly."""
        return self.call(gateway, work)

    def order_of(self, work: Work) -> int:
        """The order that the call is about. The breaker counts its unanswered calls once."""

    def on_gateway_unavailable(self, *, now: datetime) -> None:
        """The breaker lets no call pass: tell the buyers who wait for this step, if any."""
        return

    def record(
        self, answers: Sequence[tuple[Work, Answer | GatewayError]], *, now: datetime
    ) -> RunReport:
        """Write the answers down. Runs in a transaction of its own."""


def run_remote(
    step: RemoteStep[Work, Answer],
    *,
    gateway: Gateway,
    threads: Executor,
    clock: Clock,
    on_full_batch: OnFullBatch,
) -> RunReport:
    """
    Claim due work, as much as the circuit breaker allows, call the gateway for all of it at once,
    and record each answer as it comes.

    Answers that arrive together are recorded together. No transaction is open during a call. Work
    whose answer is not recorded, because the worker dies or a row is locked, is due again when its
    claim lapses.

    :raises OperationalError, InterfaceError: some answers could not be recorded, in two tries. All
        others are.
    """
    refuse_inside_transaction()
    with transaction.atomic():
        allowed = circuit_breaker.acquire(
            settings.GATEWAY_BATCH_SIZE, for_buyers=step.for_buyers, now=clock()
        )
        works = step.claim(limit=allowed.calls, now=clock()) if allowed.calls else []
        circuit_breaker.consume(allowed, len(works), now=clock())
        if allowed.is_unavailable:
            step.on_gateway_unavailable(now=clock())
    if len(works) == allowed.calls and not allowed.is_unavailable:
        on_full_batch()
    call = step.probe if allowed.is_uncertain else step.call
    calls = {threads.submit(_call, call, gateway, work): work for work in works}
    report = RunReport()
    not_recorded: Exception | None = None
    for answers in _as_completed(calls):
        try:
            report.add(_record_in_two_tries(step, answers, clock=clock))
            circuit_breaker.record_results(
                [(f"order {step.order_of(work)}", answer) for work, answer in answers],
                for_buyers=step.for_buyers,
                ends_limit=allowed.is_past_limit,
                now=clock(),
            )
        except (OperationalError, InterfaceError) as error:
            not_recorded = error
    if not_recorded:
        raise not_recorded
    report.rows = len(works)
    return report


def _record_in_two_tries(
    step: RemoteStep[Work, Answer],
    answers: Sequence[tuple[Work, Answer | GatewayError]],
    *,
    clock: Clock,
) -> RunReport:
    """A lost answer costs a buyer the rest of the claim, a minute, so try a new connection once."""
    try:
        return _record(step, answers, clock=clock)
    except (OperationalError, InterfaceError):
        logger.warning("recording %s answers of %s again", len(answers), step.name, exc_info=True)
        close_old_connections()
        return _record(step, answers, clock=clock)


def _call(
    call: Callable[[Gateway, Work], Answer], gateway: Gateway, work: Work
) -> Answer | GatewayError:
    try:
        return call(gateway, work)
    except GatewayError as error:
        return error
    except Exception as error:  # a bug of ours, perhaps after the request was sent
        logger.exception("the call for %s raised", work)
        return OutcomeUnknown(repr(error))


def _as_completed(
    calls: dict[Future[Answer | GatewayError], Work],
) -> Iterable[list[tuple[Work, Answer | GatewayError]]]:
    """Groups of answers: the next one, and those that come within `GATHER_SECONDS` of it."""
    pending = set(calls)
    while pending:
        first, pending = wait(pending, return_when=FIRST_COMPLETED)
        more, pending = wait(pending, timeout=GATHER_SECONDS)
        yield [(calls[future], future.result()) for future in first | more]


def _record(
    step: RemoteStep[Work, Answer],
    answers: Sequence[tuple[Work, Answer | GatewayError]],
    *,
    clock: Clock,
) -> RunReport:
    """Record answers together; if that raises, one by one. The rest is due again later."""
    try:
        with transaction.atomic():
            return _record_and_close_cases(step, answers, now=clock())
    except (OperationalError, InterfaceError) as error:
        if not errors.is_locked(error):
            raise
        logger.warning("%s answers of %s need a locked row: %s", len(answers), step.name, error)
    except Exception:  # see run_local
        logger.exception("recording %s answers of %s raised", len(answers), step.name)
    report = RunReport()
    for answer in answers:
        report.add(_record_one(step, answer, clock=clock))
    return report


def _record_one(
    step: RemoteStep[Work, Answer], answer: tuple[Work, Answer | GatewayError], *, clock: Clock
) -> RunReport:
    try:
        with transaction.atomic():
            errors.wait_briefly(LOCK_WAIT_MS)
            return _record_and_close_cases(step, [answer], now=clock())
    except (OperationalError, InterfaceError) as error:
        if not errors.is_locked(error):
            raise
        logger.warning("an answer of %s needs a locked row: %s", step.name, error)
        instruments.LOCKED.labels(step.name).inc()
    except Exception:  # see run_local
        logger.exception("recording an answer of %s raised", step.name)
        _open_case(step, answer[0], error=redacted(traceback.format_exc()), now=clock())
    return RunReport()


def _record_and_close_cases(
    step: RemoteStep[Work, Answer],
    answers: Sequence[tuple[Work, Answer | GatewayError]],
    *,
    now: datetime,
) -> RunReport:
    report = step.record(answers, now=now)
    if step.reports_money:
        order_ids = [
            step.order_of(work) for work, answer in answers if not isinstance(answer, GatewayError)
        ]
        settle_failures.close_cases(order_ids, now=now)
    return report


def _open_case(step: RemoteStep[Work, Answer], work: Work, *, error: str, now: datetime) -> None:
    """Show staff, at the first failure, that a report of money was not applied."""
    if step.reports_money:
        with transaction.atomic():
            settle_failures.open_cases([step.order_of(work)], error=error, now=now)
