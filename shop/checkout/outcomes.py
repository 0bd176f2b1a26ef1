"""What a step decided about a checkout, as values, and what a run of a step did."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shop.checkout.states import State

LISTED_IDS = 100  # as many checkout ids as the result line of a task carries


@dataclass(frozen=True, slots=True)
class Advance:
    """A transition; `due_at` says when the next step looks at the job, None that nothing will."""

    to: State
    because: str
    due_at: datetime | None = None
    order_id: int | None = None
    expires_at: datetime | None = None
    buyer_sees: str = ""  # instead of the sentence that belongs to the state
    keeps_units: bool = False  # of an unpaid end: another checkout takes the held units over
    hold_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The checkout ends here, with a sentence for the buyer."""

    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at `until`. `buyer_sees` is the sentence for the buyer meanwhile."""

    until: datetime
    buyer_sees: str = ""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do: the job stays as it is."""


Outcome = Advance | Fail | Wait | Ignore


@dataclass
class RunReport:
    """What a run did, for the task's result line and for ringing whoever comes next."""

    counts: Counter[str] = field(default_factory=Counter)
    job_ids: list[uuid.UUID] = field(default_factory=list)
    entered: dict[State, uuid.UUID] = field(default_factory=dict)  # a job that just entered it

    def add(self, other: RunReport) -> None:
        self.counts.update(other.counts)
        self.job_ids.extend(other.job_ids)
        self.entered = other.entered | self.entered

    def summary(self) -> str:
        """One line for Flower, whose search finds every checkout named in it."""
        counts = ", ".join(f"{what} {n}" for what, n in self.counts.items() if n) or "nothing due"
        ids = " ".join(str(job_id) for job_id in self.job_ids[:LISTED_IDS])
        return f"{counts}: {ids}" if ids else counts
