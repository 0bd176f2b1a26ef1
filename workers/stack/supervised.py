"""
One process of the stack: its output is in a log file, and it ends with all its children.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from workers.stack import process_tree
from workers.stack.server import DIE_WITH_PARENT, LOG_ROTATED_AT_BYTES

STOP_SECONDS = 7  # then SIGKILL: with the databases, a stack stops within ten
RESTART_AFTER_SECONDS = 0.2  # doubling with each quick death, up to:
RESTART_AT_MOST_SECONDS = 5.0
MAX_SHOWN_CHARS = 300
STEADY_AFTER_SECONDS = 10.0  # who has run for this long did not die "quickly"


class Supervised:
    """
    A shell command that is meant to run for ever.

    It leads a process group of its own and dies with the thread that started it. `quick_deaths`
    counts its ends in a row that nobody asked for and that came soon after the start. One thread
    may `revive` it while another starts, stops or kills it.
    """

    def __init__(
        self, name: str, command: str, *, environment: Mapping[str, str], root: Path, log: Path
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.quick_deaths = 0
        self.wanted = False  # whether a death is one that nobody asked for
        self._environment = environment
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._restart_at = 0.0
        self._turn = threading.RLock()

    def start(self) -> None:
        """Start the command unless it runs."""
        with self._turn:
            self.wanted = True
            if not self.is_running:
                self._spawn()

    def _spawn(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_ROTATED_AT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        die_with_parent = [
            sys.executable,
            "-I",
            "-S",
            str(DIE_WITH_PARENT),
            str(os.getpid()),
            str(int(signal.SIGTERM)),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*die_with_parent, "same", "sh", "-c", self.command],
                cwd=self._root,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def pids(self) -> list[int]:
        """The process and its children, as many as live."""
        return process_tree.group_members(self._process.pid) if self._process else []

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the whole group; `finish` waits."""
        with self._turn:
            self.wanted = False
            self._signal(signal.SIGCONT)  # a frozen process hears nothing
            self._signal(signal.SIGTERM)

    def finish(self, *, deadline: float) -> None:
        """Wait for the group's end until `deadline` (monotonic seconds), then kill what is left."""
        while self.pids and time.monotonic() < deadline:
            if self._process:
                self._process.poll()  # collect it: a dead one that nobody collects keeps its pid
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """End the whole group as kill -9 would, and wait until it is gone. Repeats do nothing."""
        with self._turn:
            self.wanted = False
            if self._process is None:
                return
            while self.pids:  # one of them may have been starting another
                self._signal(signal.SIGKILL)
                time.sleep(0.005)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the whole group in its tracks, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def revive(self) -> str | None:
        """
        Called every moment: start the command again if it died by itself and its pause is over.

        Returns a sentence when it is seen to be dead, once for each death.
        """
        with self._turn:
            if not self.wanted or self.is_running:
                return None
            if self._process is None:
                if time.monotonic() >= self._restart_at:
                    self._spawn()
                return None
            ended = describe_end(self._process.returncode)
            self.kill()  # children of the dead one would keep its port
            self.wanted = True
            steady = time.monotonic() - self._started_at > STEADY_AFTER_SECONDS
            self.quick_deaths = 1 if steady else self.quick_deaths + 1
            pause = pause_seconds(self.quick_deaths)
            self._restart_at = time.monotonic() + pause
            return f"{self.name} {ended}; starting it again in {pause:g} s"

    def last_lines(self, count: int = 20) -> str:
        """The end of its log."""
        return last_lines(self.log, count)

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def pause_seconds(quick_deaths: int) -> float:
    """How long to wait before the next start after so many quick deaths in a row."""
    return min(RESTART_AFTER_SECONDS * 2.0 ** (quick_deaths - 1), RESTART_AT_MOST_SECONDS)


def describe_end(returncode: int) -> str:
    """`returncode` in words: `ended (exit code 1)`, `was ended by SIGKILL`."""
    if returncode >= 0:
        return f"ended (exit code {returncode})"
    return f"was ended by {signal.Signals(-returncode).name}"


def last_lines(log: Path, count: int) -> str:
    """The last `count` lines of the file, or fewer, each cut at `MAX_SHOWN_CHARS`."""
    if not log.exists():
        return ""
    with log.open("rb") as reading:
        reading.seek(max(0, log.stat().st_size - 10 * MAX_SHOWN_CHARS * count))
        lines = reading.read().decode(errors="replace").splitlines()[-count:]
    return "\n".join(line[:MAX_SHOWN_CHARS] for line in lines)
