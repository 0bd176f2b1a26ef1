"""One process of the stack: it writes to a log file, and ends with all its children."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from workers.stack import process_tree
from workers.stack.spawn import last_lines, spawn

STOP_SECONDS = 7  # then SIGKILL: with the databases, a stack stops within ten seconds
RESTART_AFTER_SECONDS = 0.2  # doubled with each quick death, up to:
MAX_RESTART_SECONDS = 5.0
QUICK_DEATH_SECONDS = 10.0  # a death within this time of its start is quick


class Process:
    """
    A shell command that should run for ever.

    It leads its own process group and dies with the thread that started it. `quick_deaths` counts
    its unexpected quick deaths in a row. One thread may `revive` it while another starts, stops or
    kills it.
    """

    def __init__(
        self, name: str, command: str, *, environment: Mapping[str, str], root: Path, log: Path
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.quick_deaths = 0
        self.wanted = False  # if it dies while wanted, `revive` starts it again
        self._environment = environment
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._restart_at = 0.0
        self._changing = threading.RLock()

    def start(self) -> None:
        """Start the command unless it runs."""
        with self._changing:
            self.wanted = True
            if not self.is_running:
                self._spawn()

    def _spawn(self) -> None:
        self._process = spawn(
            ["sh", "-c", self.command],
            log=self.log,
            cwd=self._root,
            environment=self._environment,
            death_signal=signal.SIGTERM,
        )
        self._started_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def pids(self) -> list[int]:
        """The live processes of its group."""
        return process_tree.group_members(self._process.pid) if self._process else []

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the whole group. `finish` waits for its end."""
        with self._changing:
            self.wanted = False
            self._signal(signal.SIGCONT)  # a frozen process does not handle SIGTERM
            self._signal(signal.SIGTERM)

    def finish(self, *, deadline: float) -> None:
        """Wait until the group ends or `deadline` (monotonic seconds), then kill what is left."""
        while self.pids and time.monotonic() < deadline:
            if self._process:
                self._process.poll()  # reap it, or it stays a zombie
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """End the whole group as kill -9 would, and wait for its end. A repeat does nothing."""
        with self._changing:
            self.wanted = False
            if self._process is None:
                return
            while self.pids:  # again, in case one of them has just started another
                self._signal(signal.SIGKILL)
                time.sleep(0.005)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the whole group with SIGSTOP, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def revive(self) -> str | None:
        """
        Start the command again if it died unexpectedly and its pause is over. Call often.

        Returns a sentence, once for each death.
        """
        with self._changing:
            if not self.wanted or self.is_running:
                return None
            if self._process is None:
                if time.monotonic() >= self._restart_at:
                    self._spawn()
                return None
            ended = describe_end(self._process.returncode)
            self.kill()  # its children would keep its port
            self.wanted = True
            was_quick = time.monotonic() - self._started_at <= QUICK_DEATH_SECONDS
            self.quick_deaths = self.quick_deaths + 1 if was_quick else 1
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
    """The pause before the next start, after this many quick deaths in a row."""
    return min(RESTART_AFTER_SECONDS * 2.0 ** (quick_deaths - 1), MAX_RESTART_SECONDS)


def describe_end(returncode: int) -> str:
    """`returncode` in words: `ended (exit code 1)`, `was ended by SIGKILL`."""
    if returncode >= 0:
        return f"ended (exit code {returncode})"
    return f"was ended by {signal.Signals(-returncode).name}"
