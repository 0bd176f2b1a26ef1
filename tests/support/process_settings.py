"""How a test changes the settings of real processes. Other tests use pytest-django's `settings`."""

from __future__ import annotations

import json

THROTTLED = ("sign_in", "guest", "cart", "checkout", "confirm")
# For `changed`: buyers of a test come faster than people, and from one address.
UNHURRIED = {"THROTTLE_RATES": dict.fromkeys(THROTTLED, "100000000/min")}


def changed(**settings: object) -> dict[str, str]:
    """The environment of a process in which these Django settings have other values."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PAKKA_TEST_SETTINGS": json.dumps(settings),
    }
