"""
Measure the cost of a block of work: CPU time by role, commits, Redis commands.

CPU time is the figure with the least noise. It is read from /proc/PID/stat for whole process trees,
children that have ended included: the time of an ended Postgres backend is counted by its parent.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from redis import Redis

from workers.stack import process_tree
from workers.stack.postgres import postgres_binaries
from workers.stack.services import Services

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
OWN_MEMORY = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)
COMMITS = re.compile(r"^Transaction/COMMIT\s+(\d+)", re.MULTILINE)
NOT_COUNTED = {"info", "client|setinfo", "hello", "ping"}  # of the meter and of new connections

# Returns the pids of each role now.
Roles = Callable[[], Mapping[str, Iterable[int]]]


@dataclass
class Used:
    """Filled when the block ends."""

    seconds: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    commits: int | None = None  # in the write-ahead log; None: the log was recycled
    redis_commands: int = 0

    @property
    def cpu_total_seconds(self) -> float:
        return sum(self.cpu_seconds.values())

    def cpu_ms_per(self, count: int) -> dict[str, float]:
        """CPU milliseconds per one of `count`, by role and in total."""
        each = {role: 1000 * spent / count for role, spent in self.cpu_seconds.items()}
        return each | {"total": 1000 * self.cpu_total_seconds / count}


class Meter:
    def __init__(self, services: Services, roles: Roles) -> None:
        self._services = services
        self._roles = roles
        self._redis = Redis.from_url(services.redis_url)
        self._database = psycopg.connect(services.superuser_url, autocommit=True)

    @contextmanager
    def measure(self) -> Iterator[Used]:
        """Measure the block, whoever causes the work: let nothing else run."""
        used = Used()
        cpu, commands, log_at = self._cpu(), self._redis_commands(), self._log_position()
        started = time.perf_counter()
        yield used
        used.seconds = time.perf_counter() - started
        used.cpu_seconds = {role: spent - cpu.get(role, 0.0) for role, spent in self._cpu().items()}
        used.redis_commands = self._redis_commands() - commands
        used.commits = self._commits(log_at, self._log_position())

    def memory_mib(self) -> dict[str, dict[int, float]]:
        """
        {role: {pid: memory}} of each process now: RssAnon, without files and shared buffers.
        """
        return {
            role: {pid: found for pid in pids if (found := _own_memory_mib(pid)) is not None}
            for role, pids in self._all_pids().items()
        }

    def close(self) -> None:
        self._database.close()
        self._redis.close()

    def _all_pids(self) -> dict[str, list[int]]:
        own = {server.name: process_tree.family(server.pid) for server in self._services.servers}
        return {role: sorted(pids) for role, pids in self._roles().items()} | own

    def _cpu(self) -> dict[str, float]:
        return {
            role: sum(_cpu_seconds(pid) for pid in pids) for role, pids in self._all_pids().items()
        }

    def _redis_commands(self) -> int:
        stats = self._redis.info("commandstats")
        return sum(
            told["calls"]
            for name, told in stats.items()
            if name.removeprefix("cmdstat_") not in NOT_COUNTED
        )

    def _log_position(self) -> str:
        row = self._database.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        return str(row[0])

    def _commits(self, start: str, end: str) -> int | None:
        postgres = self._services.postgres
        if postgres is None or start == end:
            return None if postgres is None else 0
        told = subprocess.run(
            [
                postgres_binaries() / "pg_waldump", "--stats=record", "--rmgr=Transaction",
                "-p", postgres.directory / "pg_wal", "-s", start, "-e", end,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = COMMITS.search(told.stdout)
        if told.returncode or not found:
            return None
        return int(found[1])


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process and its ended children; 0 if it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in after_name[11:15]) / TICKS_PER_SECOND


def _own_memory_mib(pid: int) -> float | None:
    try:
        found = OWN_MEMORY.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
