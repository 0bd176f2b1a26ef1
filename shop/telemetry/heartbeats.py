"""
Signs of life of what nobody sees: the sweeper, and a task that has gone through each queue.

A row each, rewritten in place. What its age means, `shop/ops/health.py` says.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, models

SWEEPER = "sweeper"
CANARY = "canary."  # with the name of a queue

# The heartbeats of each process that serves no requests.
OF_PROCESS = {
    "sweeper": [SWEEPER],
    "worker": [f"{CANARY}checkout", f"{CANARY}webhooks"],
    "gateway": [f"{CANARY}gateway"],
}
SWEEPER_LATE_AFTER = timedelta(seconds=30)
CANARIES_MISSED = 3  # periods without one, until a queue counts as one that nobody works on


class Heartbeat(models.Model):
    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "heartbeat"

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        """The queue through which the canary comes; empty: this is no canary."""
        return self.name.removeprefix(CANARY) if self.name.startswith(CANARY) else ""


# The setting holds for this statement alone. A beat that a crash of Postgres takes back is no loss,
# and so the sweeper does not make the disk sync once a second.
_BEAT = """
    WITH unsynced AS (SELECT set_config('synchronous_commit', 'off', true))
    INSERT INTO shop_heartbeat (name, at) SELECT %s::text, %s::timestamptz FROM unsynced
    ON CONFLICT (name) DO UPDATE SET at = greatest(shop_heartbeat.at, excluded.at)
"""


def beat(name: str, *, now: datetime) -> None:
    """Say that `name` lives. One statement; the latest of several that say so counts."""
    with connection.cursor() as cursor:
        cursor.execute(_BEAT, [name, now])


def ages(queues: Collection[str], *, now: datetime) -> dict[str, timedelta | None]:
    """
    How long ago the sweeper, and the canary of each of these queues, were last heard of; None:
    never.
    """
    return _ages([SWEEPER, *(CANARY + queue for queue in queues)], now=now)


def works(process: str, *, now: datetime) -> bool:
    """Whether every heartbeat of this process is fresh; False for one that has none."""
    ages = _ages(OF_PROCESS.get(process, []), now=now)
    return bool(ages) and not any(is_late(name, age) for name, age in ages.items())


def _ages(names: list[str], *, now: datetime) -> dict[str, timedelta | None]:
    heard = dict(Heartbeat.objects.filter(name__in=names).values_list("name", "at"))
    return {name: now - heard[name] if name in heard else None for name in names}


def is_late(name: str, age: timedelta | None) -> bool:
    """Whether somebody should look why."""
    return age is None or age > late_after(name)


def late_after(name: str) -> timedelta:
    if name == SWEEPER:
        return SWEEPER_LATE_AFTER
    return timedelta(seconds=settings.CANARY_SECONDS * CANARIES_MISSED)
