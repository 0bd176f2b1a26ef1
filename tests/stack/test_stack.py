import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support import small_stack
from tests.support.processes import StartScript, eventually, none_lives
from tests.support.small_stack import ELSEWHERE
from workers.stack.process import pause_seconds
from workers.stack.stack import Stack, StackError, Stopped

HOLD_STACK = """
import sys
from pathlib import Path
from workers.stack.stack import Stack

with Stack(Path(sys.argv[1]), root=Path(sys.argv[2])) as stack:
    print(*(pid for name in stack.names for pid in stack.pids(name)), flush=True)
    sys.stdin.read()
"""

MakeStack = Callable[..., Stack]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small program of two processes instead of the shop."""
    directory = tmp_path / "root"
    directory.mkdir()
    small_stack.write_into(directory)
    return directory


@pytest.fixture
def make_stack(tmp_path: Path, root: Path) -> Iterator[MakeStack]:
    made: list[Stack] = []

    def make(environ: dict[str, str] | None = None, **options: object) -> Stack:
        stack = Stack(tmp_path / "data", ELSEWHERE | (environ or {}), root=root, **options)
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.stop()


def answer(stack: Stack) -> str:
    return requests.get(stack.base_url, timeout=5).text


def alive(stack: Stack) -> list[int]:
    return [pid for name in stack.names for pid in stack.pids(name)]


# --- start and stop ---


def test_the_database_is_set_up_before_the_processes_start(make_stack: MakeStack):
    with make_stack() as stack:
        assert stack.logs("setup").splitlines() == ["manage migrate --noinput", "manage seed"]
        assert answer(stack)
        assert stack.names == ["web", "idle"]


def test_a_stop_leaves_no_process(make_stack: MakeStack):
    with make_stack() as stack:
        pids = alive(stack)
        assert len(pids) == 3

    assert none_lives(pids)


def test_a_stop_ends_the_children_of_dead_processes(make_stack: MakeStack):
    with make_stack(supervise=False) as stack:
        pids = alive(stack)
        os.kill(int(answer(stack)), signal.SIGKILL)
        assert eventually(lambda: len(stack.pids("web")) == 1)

    assert none_lives(pids)


def test_kill_9_of_the_runner_leaves_no_process(
    tmp_path: Path, root: Path, start_script: StartScript
):
    runner = start_script(HOLD_STACK, tmp_path / "data", root, **ELSEWHERE)
    assert runner.stdout
    pids = [int(pid) for pid in runner.stdout.readline().split()]

    runner.kill()

    assert len(pids) == 3
    assert eventually(lambda: none_lives(pids))


def test_only_the_processes_asked_for_are_started(make_stack: MakeStack):
    with make_stack(processes=["idle"]) as stack:
        assert stack.pids("idle")
        assert stack.names == ["idle"]


def test_two_stacks_run_side_by_side(tmp_path: Path, root: Path, make_stack: MakeStack):
    with make_stack() as one, Stack(tmp_path / "other", ELSEWHERE, root=root) as other:
        assert answer(one) != answer(other)


def test_a_request_to_stop_during_the_start_is_obeyed(make_stack: MakeStack):
    stack = make_stack({"ANSWER": "503"})
    threading.Timer(1, stack.stop_asked.set).start()

    with pytest.raises(Stopped):
        stack.__enter__()

    assert not alive(stack)


# --- a start that fails ---


def test_a_process_that_does_not_stay_up_is_named_with_its_last_lines(
    root: Path, make_stack: MakeStack
):
    (root / "server.py").write_text("raise SystemExit('PORT is missing')")

    with pytest.raises(StackError, match=r"web does not stay up:\n(.*\n)*.*is missing"):
        make_stack().__enter__()


def test_a_process_that_never_answers_is_named(make_stack: MakeStack):
    stack = make_stack({"ANSWER": "503"})
    stack.start()

    with pytest.raises(StackError, match=r"web did not answer in 1 s:\n(.*\n)*serving"):
        stack.wait_ready(timeout_seconds=1)


def test_a_setup_command_that_fails_is_named_and_nothing_is_started(make_stack: MakeStack):
    stack = make_stack(setup=[("fail", "--now")])

    with pytest.raises(StackError, match=r"manage.py fail failed:\n(.*\n)*manage fail --now"):
        stack.start()

    assert not alive(stack)


# --- a process that dies ---


def test_a_process_that_dies_is_started_again_and_announced(make_stack: MakeStack):
    announced: list[str] = []
    with make_stack(announce=announced.append) as stack:
        first, old = answer(stack), stack.pids("web")
        announced.clear()  # of its ports

        os.kill(int(first), signal.SIGKILL)

        assert eventually(lambda: announced)
        stack.wait_ready()
        assert none_lives(old)
        assert answer(stack) != first
        assert announced == ["web was ended by SIGKILL; starting it again in 0.2 s"]


def test_a_process_that_was_killed_on_purpose_stays_dead_until_its_restart(make_stack: MakeStack):
    with make_stack(supervise=False) as stack:
        stack.kill("web")
        assert stack.pids("web") == []

        stack.restart("web")
        stack.wait_ready()

        assert answer(stack)


def test_without_supervision_a_dead_process_stays_dead(make_stack: MakeStack):
    with make_stack(supervise=False) as stack:
        os.kill(int(answer(stack)), signal.SIGKILL)
        assert eventually(lambda: len(stack.pids("web")) == 1)  # its child

        assert not eventually(lambda: len(stack.pids("web")) != 1, within_seconds=1)

        with pytest.raises(StackError, match="web does not stay up"):
            stack.wait_ready()


def test_a_restart_ends_the_old_process_first(make_stack: MakeStack):
    with make_stack() as stack:
        old = stack.pids("web")

        stack.restart("web")
        stack.wait_ready()

        assert none_lives(old)
        assert answer(stack)


def test_the_pause_before_a_restart_doubles_to_five_seconds():
    assert [pause_seconds(deaths) for deaths in range(1, 8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_frozen_process_does_not_answer_until_it_thaws(make_stack: MakeStack):
    with make_stack() as stack:
        stack.freeze("web")
        with pytest.raises(requests.Timeout):
            requests.get(stack.base_url, timeout=0.3)

        stack.thaw("web")

        assert answer(stack)


def test_a_frozen_process_is_stopped_cleanly(make_stack: MakeStack):
    with make_stack() as stack:
        stack.freeze("web")

    assert "ended cleanly" in stack.logs("web")


def test_an_embedded_server_that_dies_is_started_again(tmp_path: Path, make_stack: MakeStack):
    announced: list[str] = []
    with make_stack({"REDIS_URL": ""}, announce=announced.append) as stack:
        assert stack.services.redis
        announced.clear()  # of its ports

        os.kill(stack.services.redis.pid, signal.SIGKILL)

        assert eventually(lambda: announced)
        assert announced == ["redis had died and was started again"]
        assert stack.services.redis.is_running
