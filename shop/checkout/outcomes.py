"""What a step decides about a checkout, as values, and what a run of a step did."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shop.checkout.states import State, check_transition

MAX_LISTED_IDS = 100  # checkout ids in the result line of a task


class Counted(StrEnum):
    """What a run did with a row, in the words of the task's result line."""

    ADVANCED = "advanced"
    FAILED = "failed"
    WAITING = "waiting"
    LOST = "lost"  # another worker had changed or claimed it
    # webhooks
    HANDLED = "handled"
    EARLY = "early"  # a report of the payment is still to come
    RAISED = "raised"
    LOCKED = "locked"
    UNKNOWN = "unknown"  # of orders that we do not know
    ADOPTED = "adopted"
    OTHER_AMOUNT = "other amount"
    NOT_OURS = "not ours"
    # calls to Razorpay
    POLLED = "polled"
    REFUSED = "refused"
    CAPTURED = "captured"
    LEFT_TO_LAPSE = "left to lapse"
    SENT = "sent"
    POSTPONED = "postponed"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an outcome writes to a checkout."""

    counted_as: Counted
    old: State
    new: State
    attempts: int
    due_at: datetime | None = None
    because: str = ""  # why `old` was left
    took: int = 0  # attempts at leaving it
    waiting_for: str = ""
    last_error: str = ""
    error_code: str = ""
    error_message: str = ""
    error_details: dict[str, Any] = field(default_factory=dict)
    # The row keeps its value where these are None.
    order_id: int | None = None
    expires_at: datetime | None = None
    hold_until: datetime | None = None
    keeps_units: bool = False  # although `new` is a state without units


@dataclass(frozen=True, slots=True)
class Advance:
    """Make a transition. `due_at`: when the next step handles the job; None: no step will."""

    to: State
    because: str
    due_at: datetime | None = None
    order_id: int | None = None
    expires_at: datetime | None = None
    buyer_sees: str = ""  # instead of the sentence that belongs to the state
    keeps_units: bool = False  # of an unpaid end: another checkout takes the held units over
    hold_until: datetime | None = None

    def to_change(self, old: State, *, attempts: int) -> Change:
        """:raises InvalidTransition: `to` cannot follow `old`."""
        check_transition(old, self.to)
        return Change(
            counted_as=Counted.ADVANCED,
            old=old,
            new=self.to,
            because=self.because[:200],
            took=max(attempts, 1),
            attempts=0,
            due_at=self.due_at,
            waiting_for=self.buyer_sees[:200],
            order_id=self.order_id,
            expires_at=self.expires_at,
            hold_until=self.hold_until,
            keeps_units=self.keeps_units,
        )


@dataclass(frozen=True, slots=True)
class Fail:
    """End the checkout, with a sentence for the buyer."""

    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    last_error: str = ""

    def to_change(self, old: State, *, attempts: int) -> Change:
        """:raises InvalidTransition: a checkout in `old` cannot fail."""
        check_transition(old, State.FAILED)
        return Change(
            counted_as=Counted.FAILED,
            old=old,
            new=State.FAILED,
            because=self.message[:200],
            took=max(attempts, 1),
            attempts=attempts,
            last_error=self.last_error,
            error_code=self.code,
            error_message=self.message[:300],
            error_details=self.details,
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """Have the step handle the job again at `until`. `buyer_sees`: a sentence for the buyer."""

    until: datetime
    buyer_sees: str = ""
    last_error: str = ""

    def to_change(self, old: State, *, attempts: int) -> Change:
        return Change(
            counted_as=Counted.WAITING,
            old=old,
            new=old,
            attempts=attempts,
            due_at=self.until,
            waiting_for=self.buyer_sees[:200],
            last_error=self.last_error,
        )


@dataclass(frozen=True, slots=True)
class Ignore:
    """Leave the job as it is."""


Outcome = Advance | Fail | Wait | Ignore


@dataclass
class RunReport:
    """What a run of a step did: for the task's result line, and to notify the next tasks."""

    rows: int = 0  # that the run took; the runner sets it
    counts: Counter[Counted] = field(default_factory=Counter)  # one row may count for several
    job_ids: list[uuid.UUID] = field(default_factory=list)
    entered: dict[State, uuid.UUID] = field(default_factory=dict)  # a job that has just entered it

    def count(self, what: Counted, rows: int = 1) -> None:
        if rows:
            self.counts[what] += rows

    def add(self, other: RunReport) -> None:
        self.rows += other.rows
        self.counts.update(other.counts)
        self.job_ids.extend(other.job_ids)
        self.entered = other.entered | self.entered

    def summary(self) -> str:
        """One line for Flower, whose search finds every checkout named in it."""
        counts = ", ".join(f"{what} {rows}" for what, rows in self.counts.items()) or "nothing due"
        ids = " ".join(str(job_id) for job_id in self.job_ids[:MAX_LISTED_IDS])
        return f"{counts}: {ids}" if ids else counts
