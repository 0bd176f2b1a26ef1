"""How long until all was well again, measured from the moment of the harm."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psycopg

from tests.prove.environment import Ground

LOOK_SECONDS = 0.2
MOVING = "('queued', 'validated', 'ordered')"

UNDER_WAY = f"""
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
class Harm:
    """One fault that was done, and what became of the work it fell upon."""

    fault: str
    detail: str = ""
    began_at: float = 0.0  # monotonic, as the other times
    checkouts: list[str] = field(default_factory=list)  # ids of those that were open
    webhooks: list[int] = field(default_factory=list)  # ids of those that were unread
    ended: str = ""  # when its cause was gone, by the database's clock
    well_after_seconds: float | None = None
    kills: int = 0

    @property
    def in_flight(self) -> int:
        return len(self.checkouts) + len(self.webhooks)


class Watch:
    """
    Looks, in a thread of its own, whether what was under way at each harm has gone on, and whether
    a checkout that was posted after it has become payable.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._harms: list[Harm] = []
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def before(self, harm: Harm) -> None:
        """Note what is under way."""
        for kind, found in self._ground.rows(UNDER_WAY):
            if kind == "checkout":
                harm.checkouts.append(found)
            else:
                harm.webhooks.append(int(found))
        harm.began_at = time.monotonic()

    def after(self, harm: Harm) -> None:
        """The cause is gone: wait for the rest."""
        harm.ended = self._ground.rows("SELECT clock_timestamp()::text")[0][0]
        with self._turn:
            self._harms.append(harm)

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with self._turn:
                waiting = [harm for harm in self._harms if harm.well_after_seconds is None]
            try:
                with self._ground.connect(autocommit=True) as database:
                    for harm in waiting:
                        self._ask(database, harm)
            except psycopg.OperationalError:
                continue  # that is part of what we measure

    def _ask(self, database: psycopg.Connection, harm: Harm) -> None:
        row = database.execute(
            STILL_THERE,
            {"checkouts": harm.checkouts, "webhooks": harm.webhooks, "since": harm.ended},
        ).fetchone()
        assert row is not None
        still_there, goes_on = row
        if not still_there and goes_on:
            harm.well_after_seconds = time.monotonic() - harm.began_at
