"""How tests change the settings of real processes: tests/settings.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shop.addresses import REPOSITORY
from tests.support.process_settings import changed

SHOW = """
from django.conf import settings
print(settings.SWEEP_SECONDS, settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]["guest"])
"""


def show(**settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=REPOSITORY,
        env=os.environ | changed(**settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_gets_the_changed_settings():
    done = show(SWEEP_SECONDS=7, THROTTLE_RATES={"guest": "3/day"})

    assert done.stdout.split() == ["7", "3/day"], done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("SWEEP_SECOND", 7), ("SWEEP_SECONDS", "7"), ("THROTTLE_RATES", {"guests": "3/day"})],
)
def test_an_unknown_name_or_another_type_stops_the_start(name: str, value: object):
    done = show(**{name: value})

    assert done.returncode != 0
    assert f"PAKKA_TEST_SETTINGS: {name}" in done.stderr
