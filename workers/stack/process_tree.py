"""The processes of this machine with their parents and groups, from /proc (Linux only)."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FREEZE_SECONDS = 5  # a process inside a system call stops when the call returns


class ProcessInfo(NamedTuple):
    pid: int
    state: str
    parent_pid: int
    group: int


def running() -> Iterator[ProcessInfo]:
    """Every process except zombies. Empty on a machine without /proc."""
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            # "pid (name) state parent group ...": the name may hold spaces and brackets
            after_name = (directory / "stat").read_text().rpartition(")")[2]
            state, parent_pid, group, *_ = after_name.split()
            if state not in "ZX":
                yield ProcessInfo(int(directory.name), state, int(parent_pid), int(group))


def group_members(group: int) -> list[int]:
    """The pids of process group `group`."""
    return [process.pid for process in running() if process.group == group]


def family(pid: int) -> list[int]:
    """`pid` and the pids of its descendants, each after its parent."""
    children: dict[int, list[int]] = {}
    for process in running():
        children.setdefault(process.parent_pid, []).append(process.pid)
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def freeze(pid: int) -> None:
    """Stop `pid` and its descendants with SIGSTOP, and wait until all of them have stopped."""
    members = family(pid)
    signal_each(members, signal.SIGSTOP)
    deadline = time.monotonic() + FREEZE_SECONDS
    while {process.state for process in running() if process.pid in members} - {"T"}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} or a child of it does not stop")
        time.sleep(0.005)


def thaw(pid: int) -> None:
    """Continue `pid` and its descendants. A repeat changes nothing."""
    signal_each(family(pid), signal.SIGCONT)


def signal_each(members: list[int], number: signal.Signals) -> None:
    for pid in members:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
