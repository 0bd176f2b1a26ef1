from __future__ import annotations

import pytest
from pytest_django.fixtures import Settings

from shop.api.limits import Throttle


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """No limit of pace, hashing that costs nothing: for tests of very many requests."""
    for scope in Throttle.THROTTLE_RATES:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "100000/day")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
