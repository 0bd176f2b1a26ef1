"""The proof's mortal processes do what the shop's own do, until they die."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import run
from tasks.registry import VALIDATE_CART
from tests.prove import crashing


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_mortal_task_goes_on_as_its_answer_says(is_ours: bool, tmp_path: Path, monkeypatch):
    """What swallowed it once left all rows to other workers, and nobody died over them."""
    monkeypatch.setenv(crashing.DIRECTORY, str(tmp_path))
    for name in ("local", "remote"):
        monkeypatch.setattr(run, name, getattr(run, name))  # put back afterwards
    monkeypatch.setattr(run, "begin_run", lambda _task: is_ours)

    crashing.crash_in_tasks()

    assert run.begin_run(VALIDATE_CART) is is_ours
