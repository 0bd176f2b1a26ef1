"""
Heartbeats of the sweeper and of each queue, one row each, updated in place.

A queue's heartbeat comes from its canary: a task that the sweeper sends through the queue, and that
a worker has finished.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, models

SWEEPER = "sweeper"
CANARY = "canary."  # with the name of a queue

# The heartbeats of each process that is no web server.
OF_PROCESS = {
    "sweeper": [SWEEPER],
    "worker": [f"{CANARY}checkout", f"{CANARY}webhooks"],
    "gateway": [f"{CANARY}gateway"],
}
SWEEPER_LATE_AFTER = timedelta(seconds=30)
MISSED_CANARIES = 3  # a queue is late after this many periods without one


class Heartbeat(models.Model):
    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "heartbeat"

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        """The queue whose canary this is; empty for the sweeper."""
        return self.name.removeprefix(CANARY) if self.name.startswith(CANARY) else ""


# synchronous_commit is off for this statement only, so that the sweeper does not sync the disk
# every second. A crash of Postgres may lose a heartbeat, which does no harm.
_BEAT = """
    WITH unsynced AS (SELECT set_config('synchronous_commit', 'off', true))
    INSERT INTO shop_heartbeat (name, at) SELECT %s::text, %s::timestamptz FROM unsynced
    ON CONFLICT (name) DO UPDATE SET at = greatest(shop_heartbeat.at, excluded.at)
"""


def beat(name: str, *, now: datetime) -> None:
    """Record a heartbeat of `name`. One statement; an older `now` changes nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_BEAT, [name, now])


def ages(queues: Collection[str], *, now: datetime) -> dict[str, timedelta | None]:
    """The age of the heartbeats of the sweeper and of these queues; None if there was none yet."""
    return _ages([SWEEPER, *(CANARY + queue for queue in queues)], now=now)


def are_fresh(process: str, *, now: datetime) -> bool:
    """Whether all heartbeats of this process are fresh; False for an unknown process."""
    ages = _ages(OF_PROCESS.get(process, []), now=now)
    return bool(ages) and not any(is_late(name, age) for name, age in ages.items())


def _ages(names: list[str], *, now: datetime) -> dict[str, timedelta | None]:
    latest = dict(Heartbeat.objects.filter(name__in=names).values_list("name", "at"))
    return {name: now - latest[name] if name in latest else None for name in names}


def is_late(name: str, age: timedelta | None) -> bool:
    """Whether the heartbeat is missing or too old."""
    return age is None or age > late_after(name)


def late_after(name: str) -> timedelta:
    if name == SWEEPER:
        return SWEEPER_LATE_AFTER
    return timedelta(seconds=settings.CANARY_SECONDS * MISSED_CANARIES)
