"""Profile a process with py-spy, from outside, while a measurement runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SAMPLES_PER_SECOND = 200
MAX_SECONDS = 3600
SHOWN = 30
# `function (package/module.py:12)` at the end of a stack
INNERMOST_FILE = re.compile(r"\(([^/():]+)[^():]*:\d+\)$")


@contextmanager
def recorded(roles: Mapping[str, Sequence[int]]) -> Iterator[dict[str, list[str]]]:
    """
    Filled at the end: {role: stacks}, each stack a line `outermost;...;innermost samples`.

    Samples count threads that hold the interpreter's lock, not threads that wait.
    """
    stacks: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as directory:
        files = {pid: Path(directory) / str(pid) for pids in roles.values() for pid in pids}
        recorders = [_record(pid, file) for pid, file in files.items()]
        yield stacks
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)  # it writes its output and ends
        for recorder in recorders:
            recorder.wait()
        for role, pids in roles.items():
            texts = [files[pid].read_text() for pid in pids if files[pid].exists()]
            stacks[role] = [line for text in texts for line in text.splitlines()]


def _record(pid: int, file: Path) -> subprocess.Popen[bytes]:
    recorder = Path(sys.executable).with_name("py-spy")
    words = [
        str(recorder), "record", "--nonblocking", "--gil", "--function",
        "--pid", str(pid), "--format", "raw", "--output", str(file),
        "--rate", str(SAMPLES_PER_SECOND), "--duration", str(MAX_SECONDS),
    ]  # fmt: skip
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def by_package(stacks: Sequence[str]) -> dict[str, float]:
    """{package: per cent of samples in its own code}, largest first."""
    found: Counter[str] = Counter()
    for line in stacks:
        frames, _, samples = line.rpartition(" ")
        file = INNERMOST_FILE.search(frames)
        package = file[1].removesuffix(".py") if file else ""
        is_pythons = package in sys.stdlib_module_names or package[:1] in {"", "<"}
        found["Python's own" if is_pythons else package] += int(samples)
    everything = max(1, found.total())
    return {package: 100 * samples / everything for package, samples in found.most_common()}


def summary(stacks: Sequence[str]) -> str:
    """The functions with the most samples: cumulative, and their own."""
    within: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for line in stacks:
        frames, _, samples = line.rpartition(" ")
        names = frames.split(";")
        own[names[-1]] += int(samples)
        for name in set(names):
            within[name] += int(samples)
    everything = max(1, own.total())
    parts = []
    for title, counted in (("with what they call", within), ("on their own", own)):
        parts.append(f"{title}, % of {everything} samples")
        parts += [
            f"  {100 * samples / everything:5.1f}  {name}"
            for name, samples in counted.most_common(SHOWN)
        ]
    return "\n".join(parts)
