"""
The files in which processes count (prometheus-client's multiprocess mode), read together.

Each process has files of its own, named for its pid. Those of the dead are added to one that stays:
were they only removed, sums would fall, which Prometheus takes for a restart and counts anew; were
they kept, a year of restarts would be read at every scrape.
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

OF_A_PROCESS = re.compile(r"(counter|histogram)_(\d+)\.db")


def read(directory: Path) -> Iterable[Metric]:
    """The sums over all processes, dead ones too. Those who ask at once wait for each other."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _gather_the_dead(directory)
        return list(MultiProcessCollector.merge(map(str, directory.glob("*.db"))))


def _gather_the_dead(directory: Path) -> None:
    """Not safe against a kill in its middle, which would count the last counts of one twice."""
    for file in directory.glob("*.db"):
        found = OF_A_PROCESS.fullmatch(file.name)
        if found and not _lives(int(found[2])):
            kept = MmapedDict(str(directory / f"{found[1]}_gone.db"))
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                kept.write_value(key, kept.read_value(key)[0] + value, 0.0)
            kept.close()
            file.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's: the pid was used again, and may be once more
        pass
    return True
