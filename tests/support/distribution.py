"""
How pytest-xdist shares the tests out: `pytest -n 3`.

A worker takes the tests of one module at a time, so that a fixture of a module starts once. The
tests that share one running stack stay together. What takes longest begins first. Each worker has
servers of its own (see `environment`).
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# The fault suite is one of the journeys: beside them it would leave their processes too little CPU.
SHARED_STACKS = ("tests/browser", "tests/journey")
# A worker is given the next unit while its last two tests run: see LoadScopeScheduling.
LONGEST = (
    "tests/journey",
    "tests/browser",
    "tests/stack/test_bench.py",
    "tests/db/test_stateful_money.py",
    "tests/stack/",
)


def unit_of(nodeid: str) -> str:
    """The tests with the same unit run in one worker, one after the other."""
    module = nodeid.split("::", maxsplit=1)[0]
    package = module.rpartition("/")[0]
    return package if package in SHARED_STACKS else module


def longest_first(items: list[pytest.Item]) -> None:
    """Sort `items` in place; those not named in `LONGEST` keep their order."""

    def rank(item: pytest.Item) -> int:
        unit = unit_of(item.nodeid)
        return next((n for n, name in enumerate(LONGEST) if unit.startswith(name)), len(LONGEST))

    items.sort(key=rank)


class InUnits(LoadScopeScheduling):
    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # `longest_first` has ordered them

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
