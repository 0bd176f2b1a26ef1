"""How a test changes the settings of real processes. Other tests use pytest-django's `settings`."""

from __future__ import annotations

import json

# A stack chooses these by itself. Without this it would take the values that `environment` has set.
UNSET = dict.fromkeys(
    (
        "DATA_DIR",
        "RAZORPAY_BASE_URL",
        "LOG_LEVEL",
        "SECRET_KEY",
        "PORT",
        "FLOWER_PORT",
        "STANDIN_PORT",
    ),
    "",
)
CANARY_SECONDS = 2  # between two canaries of the shared stacks
GUESTS_ONLY = {"HELD_PERCENT_BY_GUESTS": "100"}  # all buyers of such a test are guests
THROTTLED = ("sign_in", "guest", "cart", "checkout", "confirm")
# For `changed`: buyers of a test come faster than people, and from one address.
UNHURRIED = {"THROTTLE_RATES": dict.fromkeys(THROTTLED, "100000000/min")}


def changed(**settings: object) -> dict[str, str]:
    """The environment of a process in which these Django settings have other values."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PAKKA_TEST_SETTINGS": json.dumps(settings),
    }


# The shared stacks: calls time out soon, claims lapse soon, the stand-in lists new orders at once.
FAST_STACK = (
    UNSET
    | {
        "GATEWAY_TIMEOUT_SECONDS": "2",
        "STANDIN_RECEIPT_LAG_SECONDS": "0",
        "STANDIN_LIST_LAG_SECONDS": "0",
    }
    | changed(CANARY_SECONDS=CANARY_SECONDS, CLAIM_SECONDS=6, RECEIPT_LAG_SECONDS=2, **UNHURRIED)
)
