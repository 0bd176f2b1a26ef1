"""The crashing processes of the fault suite do the shop's work until they crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import run
from tasks.registry import VALIDATE_CART
from tests.prove import crashing


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_mortal_task_goes_on_as_its_answer_says(is_ours: bool, tmp_path: Path, monkeypatch):
    """If it were swallowed, the run would leave all rows to other workers and never crash."""
    monkeypatch.setenv(crashing.DIRECTORY, str(tmp_path))
    for name in ("local", "remote"):
        monkeypatch.setattr(run, name, getattr(run, name))  # restored afterwards
    monkeypatch.setattr(run, "begin_run", lambda _task: is_ours)

    crashing.crash_in_tasks()

    assert run.begin_run(VALIDATE_CART) is is_ours
