"""The commands as a user types them, with real processes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from shop.addresses import REPOSITORY
from tests.support.processes import eventually

OF_THE_SHOP = re.compile(
    "DATABASE_URL|REDIS_URL|CELERY_|RAZORPAY_|SECRET_KEY|DEBUG|ROLE|(FLOWER_|STANDIN_|)PORT"
)
STACK = [sys.executable, "-m", "workers.stack"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with no variable of ours but `DATA_DIR` and ports."""
    given = {name: value for name, value in os.environ.items() if not OF_THE_SHOP.match(name)}
    return given | {"DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def up(tmp_path: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen([*STACK, "up"], cwd=REPOSITORY, env=environ, stdout=log)
    yield process
    process.kill()
    process.wait()


def processes_of(data_dir: str) -> list[str]:
    """Command lines of live processes whose environment names this `data_dir`."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if f"DATA_DIR={data_dir}".encode() in (directory / "environ").read_bytes().split(b"\0"):
                found.append((directory / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_up_prints_all_urls_and_ready_and_stops_on_a_signal(
    tmp_path: Path, environ: dict[str, str], up: subprocess.Popen[bytes]
):
    shown = tmp_path / "up.log"
    assert eventually(lambda: "\nready\n" in shown.read_text(), within_seconds=90)

    places = dict(
        re.findall(
            r"^  (shop|API docs|admin|Flower|stand-in) +(\S+)", shown.read_text(), re.MULTILINE
        )
    )
    answers = {name: requests.get(place, timeout=10).status_code for name, place in places.items()}
    assert answers.pop("Flower") == 401  # nobody sees the tasks without the login
    login = re.search(r"login: (\w+):(\S+)", shown.read_text())
    assert login
    assert requests.get(places["Flower"], auth=login.groups(), timeout=10).status_code == 200
    assert len(answers) == 4
    assert answers["API docs"] == answers["admin"] == 200
    up.send_signal(signal.SIGTERM)

    assert up.wait(30) == 0
    assert shown.read_text().splitlines().count("ready") == 1
    assert processes_of(environ["DATA_DIR"]) == []


def test_the_demo_takes_one_checkout_to_paid(environ: dict[str, str]):
    demo = subprocess.run(
        [*STACK, "demo"], cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.search(r"paid: ", demo.stdout)
    assert re.search(r"order \S+ of ₹[\d,]+\.\d\d is confirmed", demo.stdout)
    assert processes_of(environ["DATA_DIR"]) == []


def test_run_gives_a_command_the_database_and_returns_its_exit_code(environ: dict[str, str]):
    text = "import os, psycopg, sys; psycopg.connect(os.environ['DATABASE_URL']); sys.exit(7)"

    ran = subprocess.run(
        [*STACK, "run", "--", sys.executable, "-c", text], cwd=REPOSITORY, env=environ, check=False
    )

    assert ran.returncode == 7


def test_a_wrong_setting_stops_the_start_with_a_message_and_no_traceback(environ: dict[str, str]):
    refused = subprocess.run(
        [*STACK, "up"],
        cwd=REPOSITORY,
        env=environ | {"PORT": "http"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert refused.stderr == "PORT=http, must be a port number\n"
