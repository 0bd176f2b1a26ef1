"""
The figures of the operations page and of `/metrics`, cached for a moment in each process.

Ten open pages and two Prometheus servers cost as much as one. A figure of the history that takes
longer than `STATEMENT_TIMEOUT_MS` is left out and named; the others are shown.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction

from shop.ops import current as current_state
from shop.ops import history
from shop.ops.ranges import CUSTOM, Range
from shop.ops.rows import Row

logger = logging.getLogger(__name__)

CURRENT_FRESH_SECONDS = 2.0
MAX_STALE_SECONDS = 30.0
STATEMENT_TIMEOUT_MS = 5_000
MAX_ENTRIES = 50

PARTS: Mapping[str, Callable[[Range], Any]] = {
    "checkouts": history.checkouts,
    "reasons": history.reasons,
    "times": history.times,
    "webhooks": history.webhooks,
    "carts": history.carts,
}


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)  # held while it is read
    fresh_until: float = -math.inf  # on the monotonic clock
    found: Row = field(default_factory=dict)
    error: OperationalError | None = None  # instead of figures, as long as it is fresh

    def result(self) -> Row:
        if self.error:
            raise OperationalError(str(self.error)) from self.error
        return self.found


_entries: dict[str, _Entry] = {}


def read(span: Range, *, now: datetime) -> Row:
    """Everything on the page: the current state, and the history of the range."""
    name = span.name if span.name != CUSTOM else f"{span.since}–{span.until}"
    return {
        "current": current(now=now),
        "span": _cached(name, span.fresh_seconds, lambda: _history(span, now=now)),
    }


def current(*, now: datetime) -> Row:
    """
    The current state, `CURRENT_FRESH_SECONDS` old at most; its `as_of` says when it was read.

    :raises OperationalError: Postgres is unavailable.
    """
    return _cached("current", CURRENT_FRESH_SECONDS, lambda: current_state.current(now=now))


def forget() -> None:
    """Empty the cache."""
    _entries.clear()


def _cached(name: str, fresh_seconds: float, read: Callable[[], Row]) -> Row:
    """
    Read once for all callers. While one thread reads, the others get the last figures if these
    are not older than `MAX_STALE_SECONDS`, so a slow statement blocks one thread of the server
    only; otherwise they wait. A failure is cached like figures: whoever waited for it gets it, too,
    and does not wait for the next timeout of Postgres.

    :raises OperationalError: Postgres is unavailable.
    """
    if len(_entries) >= MAX_ENTRIES and name not in _entries:
        _entries.clear()
    entry = _entries.setdefault(name, _Entry())
    stale_for = time.monotonic() - entry.fresh_until
    if stale_for < 0:
        return entry.result()
    if not entry.lock.acquire(blocking=stale_for > MAX_STALE_SECONDS or entry.error is not None):
        return entry.found
    try:
        if time.monotonic() >= entry.fresh_until:
            try:
                entry.found, entry.error = read(), None
            except OperationalError as error:
                entry.error = error
            entry.fresh_until = time.monotonic() + fresh_seconds
        return entry.result()
    finally:
        entry.lock.release()


def _history(span: Range, *, now: datetime) -> Row:
    found: Row = {
        "as_of": now,
        "name": span.name,
        "since": span.since,
        "until": span.until,
        "bucket_seconds": int(span.bucket.total_seconds()),
        "starts": [int(start.timestamp()) for start in span.starts],
        "left_out": [],
    }
    for name, read in PARTS.items():
        try:
            found[name] = _with_timeout(read, span)
        except OperationalError as error:
            if connection.connection is None or connection.connection.closed:
                raise
            logger.warning("history of %s takes too long: %s", name, error)
            found[name] = None
            found["left_out"].append(name)
    return found


def _with_timeout(read: Callable[[Range], Any], span: Range) -> Any:
    with transaction.atomic():
        with connection.cursor() as cursor:
            timeout = str(STATEMENT_TIMEOUT_MS)
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [timeout])
        return read(span)
