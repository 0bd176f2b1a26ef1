"""
What the page shows, put together: what stands, and what happened in a range.

Each answer is kept for a moment in this process, so that ten open pages cost as much as one. A
figure that takes too long is left out and named: the others are shown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction

from shop.ops import current, history
from shop.ops.ranges import CUSTOM, Range
from shop.ops.rows import Row

logger = logging.getLogger(__name__)

STANDING_FRESH_SECONDS = 2.0
PATIENCE_MS = 5_000  # with one figure
MAX_KEPT = 50  # answers

PARTS: Mapping[str, Callable[[Range], Any]] = {
    "checkouts": history.checkouts,
    "reasons": history.reasons,
    "times": history.times,
    "webhooks": history.webhooks,
    "carts": history.carts,
}


@dataclass
class _Kept:
    """One answer: while somebody reads it anew, others take what there was."""

    reading: threading.Lock = field(default_factory=threading.Lock)
    until: float = 0.0  # on the monotonic clock
    found: Row = field(default_factory=dict)


_kept: dict[str, _Kept] = {}


def read(span: Range, *, now: datetime) -> Row:
    """Everything on the page."""
    name = span.name if span.name != CUSTOM else f"{span.since}–{span.until}"
    return {
        "standing": _keep("standing", STANDING_FRESH_SECONDS, lambda: _standing(now=now)),
        "span": _keep(name, span.fresh_seconds, lambda: _span(span, now=now)),
    }


def forget() -> None:
    """Read anew at the next question."""
    _kept.clear()


def _keep(name: str, fresh_seconds: float, read: Callable[[], Row]) -> Row:
    """
    Read once for all who ask meanwhile: they get the last answer, so that a slow figure holds up
    one thread and not those that serve buyers. Where there is none yet, they wait.
    """
    if len(_kept) >= MAX_KEPT and name not in _kept:
        _kept.clear()
    kept = _kept.setdefault(name, _Kept())
    if time.monotonic() < kept.until or not kept.reading.acquire(blocking=not kept.found):
        return kept.found
    try:
        if time.monotonic() >= kept.until:
            kept.found = read()
            kept.until = time.monotonic() + fresh_seconds
        return kept.found
    finally:
        kept.reading.release()


def _standing(*, now: datetime) -> Row:
    return {"as_of": now, **current.current(now=now)}


def _span(span: Range, *, now: datetime) -> Row:
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
            found[name] = _patiently(read, span)
        except OperationalError as error:
            if connection.connection is None or connection.connection.closed:
                raise
            logger.warning("%s takes too long: %s", name, error)
            found[name] = None
            found["left_out"].append(name)
    return found


def _patiently(read: Callable[[Range], Any], span: Range) -> Any:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)])
        return read(span)
