"""Start a program whose output goes to a log file and which dies with this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
MAX_LOG_BYTES = 10 * 1024 * 1024  # a longer log is put aside at the next start
MAX_LINE_CHARS = 300


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    death_signal: signal.Signals,
    identity: str = "same",
    environment: Mapping[str, str] | None = None,
    inherited: IO[str] | None = None,
) -> subprocess.Popen[bytes]:
    """
    Start `command`, with its output appended to `log`.

    It gets `death_signal` when the thread that called this ends. It leads a session of its own, so
    a Ctrl-C in the terminal does not reach it. It keeps the file `inherited` open.
    """
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            [*die_with_parent(death_signal, identity), *command],
            cwd=cwd,
            env=dict(environment) if environment is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[inherited.fileno()] if inherited else [],
        )


def die_with_parent(death_signal: signal.Signals, identity: str) -> list[str]:
    """The words before a command that make it die with this process: see die_with_parent.py."""
    script = [sys.executable, "-I", "-S", str(DIE_WITH_PARENT)]
    return [*script, str(os.getpid()), str(int(death_signal)), identity]


def last_lines(log: Path, count: int) -> str:
    """The last `count` lines of the file, or fewer, each cut at `MAX_LINE_CHARS`."""
    if not log.exists():
        return ""
    with log.open("rb") as reading:
        reading.seek(max(0, log.stat().st_size - 10 * MAX_LINE_CHARS * count))
        lines = reading.read().decode(errors="replace").splitlines()[-count:]
    return "\n".join(line[:MAX_LINE_CHARS] for line in lines)
