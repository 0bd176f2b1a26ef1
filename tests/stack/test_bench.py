"""The benchmark with few checkouts: every figure is there, whatever its value."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shop.addresses import REPOSITORY
from tests.bench import document, upkeep
from tests.bench.pakka import PROCESSES
from tests.bench.report import REFERENCES, WISHES

COMPARED = {wish.key for wish in WISHES if wish.measurement == "rush" and not wish.times}


def run(tmp_path: Path, *words: str) -> dict:
    kept = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--size", "tiny", "--json", str(kept), *words]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(kept.read_text())


def test_every_figure_is_found_beside_the_references(tmp_path: Path):
    kept = run(tmp_path)

    figures = {figure["key"]: figure for figure in kept["figures"]}
    assert set(figures) == {wish.key for wish in WISHES}
    assert all(set(figures[key]["references"]) == set(REFERENCES) for key in COMPARED)
    assert figures["flash.sold"]["ok"]
    assert figures["flash.errors"]["ok"]
    assert kept["machine"]["postgres_settings"]["fsync"] == "on"


def test_old_rows_and_a_soak_are_measured(tmp_path: Path):
    kept = run(tmp_path, "--only", "rush", "--no-references", "--grown", "100", "--soak", "40")

    assert {figure["key"] for figure in kept["grown"]} >= {"rush.cpu_ms.total"}
    beside = {figure["key"] for figure in kept["upkeep"]}
    assert beside >= {"upkeep.retention of transitions", "upkeep.claim of 64 due polls"}
    assert beside >= {f"upkeep.{title}" for title, _, _ in upkeep.LISTS}
    roles = {figure["key"] for figure in kept["soak"]}
    assert roles == {f"soak.{role}" for role in (*PROCESSES, "postgres", "redis")}


def test_a_profile_says_which_packages_take_the_time(tmp_path: Path, monkeypatch):
    kept = run(tmp_path, "--only", "visits", "--profile", "web")
    page = Path(shutil.copy(document.DOCUMENT, tmp_path))
    monkeypatch.setattr(document, "DOCUMENT", page)

    document.main([str(tmp_path / "bench.json")])

    shares = kept["profile"]["visits, web"]
    assert sum(shares.values()) == pytest.approx(100)
    most, share = next(iter(shares.items()))
    assert f"| {most} | {share:.0f} % |" in page.read_text()
