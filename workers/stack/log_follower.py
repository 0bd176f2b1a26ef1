"""Print the lines that processes add to their logs, each with the name of its process."""

import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from workers.stack.spawn import MAX_LOG_BYTES

READ_EVERY_SECONDS = 0.1


class Follower:
    """Prints what is added to `logs` (process name: file) until its `with` block has ended."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = logs
        self._colours = dict(zip(logs, get_colours(), strict=False))
        self._printer = Printer(sys.stdout, width=max(map(len, self._colours)))
        self._read_to = {name: _size(log) for name, log in logs.items()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._over.wait(READ_EVERY_SECONDS):
                self._print_new()
            self._print_new()
        except BrokenPipeError:
            return  # nobody reads our output; the logs have all of it

    def _print_new(self) -> None:
        for name, log in self._logs.items():
            if _size(log) < self._read_to[name]:
                self._read_to[name] = 0  # the log was rotated
            if _size(log) == self._read_to[name]:
                continue
            with log.open("rb") as reading:
                reading.seek(self._read_to[name])
                whole_lines = reading.read().rpartition(b"\n")[0]
            if not whole_lines:
                continue
            self._read_to[name] += len(whole_lines) + 1
            self._print(name, whole_lines)
            if self._read_to[name] > MAX_LOG_BYTES:
                with log.open("wb"):  # all of it was printed: begin the file again
                    self._read_to[name] = 0

    def _print(self, name: str, lines: str | bytes) -> None:
        self._printer.write(
            Message("line", lines, datetime.now().astimezone(), name, self._colours[name])
        )


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
