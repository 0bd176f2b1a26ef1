from __future__ import annotations

import pytest

from shop.api.throttling import Throttle


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rate limits that no test reaches: for tests of many requests."""
    for scope in Throttle.THROTTLE_RATES:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "100000/day")
