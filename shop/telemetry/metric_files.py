"""
Sums over the files of all processes (prometheus-client's multiprocess mode).

Each process writes files named for its pid. This module adds the files of ended processes to one
file for each kind and deletes them: if they were only deleted, counters would fall, which
Prometheus reads as a restart; if they were kept, each scrape would read the files of every process.

It uses the library's private `MmapedDict`, because the library itself only deletes the files of
gauges. An upgrade that changes the class fails tests/db/test_metrics.py.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

PROCESS_FILE = re.compile(r"(counter|histogram)_(\d+)\.db")


def read(directory: Path) -> Iterable[Metric]:
    """The sums over all processes, ended ones too. Concurrent callers wait for each other."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _merge_ended(directory)
        return list(MultiProcessCollector.merge(map(str, directory.glob("*.db"))))


def _merge_ended(directory: Path) -> None:
    """A kill before `unlink` counts some counts of an ended process twice."""
    for file in directory.glob("*.db"):
        found = PROCESS_FILE.fullmatch(file.name)
        if found and not _runs(int(found[2])):
            kept = MmapedDict(str(directory / f"{found[1]}_gone.db"))
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                kept.write_value(key, kept.read_value(key)[0] + value, 0.0)
            kept.close()
            file.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process has this pid now
        pass
    return True
