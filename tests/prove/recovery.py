"""How long each fault disturbed the shop, measured from its start."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psycopg

from tests.prove.environment import Environment

LOOK_SECONDS = 0.2
MOVING = "('queued', 'validated', 'ordered')"

IN_FLIGHT = f"""
    SELECT 'checkout', id::text FROM shop_checkoutjob
    WHERE state IN {MOVING} OR state = 'awaiting_payment'
    UNION ALL SELECT 'webhook', id::text FROM shop_inboxevent WHERE due_at IS NOT NULL
"""
STILL_THERE = f"""
    SELECT (SELECT count(*) FROM shop_checkoutjob
            WHERE id = ANY(%(checkouts)s::uuid[]) AND state IN {MOVING})
         + (SELECT count(*) FROM shop_inboxevent
            WHERE id = ANY(%(webhooks)s::bigint[]) AND due_at IS NOT NULL),
           EXISTS (SELECT 1 FROM shop_transition JOIN shop_checkoutjob job ON job.id = job_id
                   WHERE new = 'awaiting_payment' AND job.created_at > %(since)s)
"""


@dataclass
class FaultRecord:
    """One fault, the work that was in flight when it began, and when that work went on."""

    fault: str
    detail: str = ""
    began_at: float = 0.0  # monotonic, as the other times
    checkouts: list[str] = field(default_factory=list)  # ids of open checkouts
    webhooks: list[int] = field(default_factory=list)  # ids of unhandled webhooks
    ended: str = ""  # when the cause was removed, by the database's clock
    recovered_after_seconds: float | None = None
    kills: int = 0

    @property
    def in_flight(self) -> int:
        return len(self.checkouts) + len(self.webhooks)


class RecoveryWatch:
    """
    A thread that finds out when the work in flight at each fault has gone on, and when a checkout
    posted after the fault became payable.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._records: list[FaultRecord] = []
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def before(self, record: FaultRecord) -> None:
        """Record the work in flight."""
        for kind, found in self._env.rows(IN_FLIGHT):
            if kind == "checkout":
                record.checkouts.append(found)
            else:
                record.webhooks.append(int(found))
        record.began_at = time.monotonic()

    def after(self, record: FaultRecord) -> None:
        """The cause is removed: watch for recovery."""
        record.ended = self._env.rows("SELECT clock_timestamp()::text")[0][0]
        with self._turn:
            self._records.append(record)

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with self._turn:
                waiting = [
                    record for record in self._records if record.recovered_after_seconds is None
                ]
            try:
                with self._env.connect(autocommit=True) as database:
                    for record in waiting:
                        self._ask(database, record)
            except psycopg.OperationalError:
                continue  # part of what is measured

    def _ask(self, database: psycopg.Connection, record: FaultRecord) -> None:
        row = database.execute(
            STILL_THERE,
            {"checkouts": record.checkouts, "webhooks": record.webhooks, "since": record.ended},
        ).fetchone()
        assert row is not None
        still_there, goes_on = row
        if not still_there and goes_on:
            record.recovered_after_seconds = time.monotonic() - record.began_at
