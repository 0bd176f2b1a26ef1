"""A process stops when many signals arrive at once, as from a CI runner that signals a group."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.addresses import REPOSITORY
from tests.support import small_stack
from tests.support.processes import none_lives
from tests.support.small_stack import ELSEWHERE
from workers.stack import process_tree

STOP_SECONDS = 10
SIGNALS = 12  # of two kinds; with a handler that sets an event, 18 of 50 processes never ended
MAX_GAP_SECONDS = 0.0001

WAITING = """
import threading
from workers import stop_signals

stop_asked = threading.Event()
stop_signals.set_on_signals(stop_asked)
print("up", flush=True)
stop_asked.wait()
"""
STACK = """
import sys
from pathlib import Path
from workers import stop_signals
from workers.stack.stack import Stack

stack = Stack(Path(sys.argv[1]), root=Path(sys.argv[2]))
stop_signals.set_on_signals(stack.stop_asked)
try:
    stack.start()
    stack.wait_ready()
    print("up", flush=True)
    stack.stop_asked.wait()
finally:
    stack.stop()
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Start:
    """Start Python source as the leader of a process group; returns when it prints a line."""

    def started(text: str, *arguments: Path, **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environ,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        request.addfinalizer(process.communicate)
        request.addfinalizer(process.kill)
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        return process

    return started


def signal_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM and SIGINT alternately to the whole group, faster than a handler can end."""
    for turn in range(SIGNALS):
        os.killpg(process.pid, (signal.SIGTERM, signal.SIGINT)[turn % 2])
        until = time.perf_counter() + random.uniform(0, MAX_GAP_SECONDS)
        while time.perf_counter() < until:
            pass


def test_a_process_stops_when_many_signals_arrive_at_once(start: Start):
    for _ in range(50):
        process = start(WAITING)
        signal_group(process)

        assert process.wait(STOP_SECONDS) == 0


def test_a_stack_stops_when_many_signals_arrive_at_once(start: Start, tmp_path: Path):
    small_stack.write_into(tmp_path)

    for _ in range(5):
        process = start(STACK, tmp_path / "data", tmp_path, **ELSEWHERE)
        started = [pid for pid in process_tree.family(process.pid) if pid != process.pid]
        signal_group(process)

        assert process.wait(STOP_SECONDS) == 0
        assert len(started) == 3
        assert none_lives(started)
