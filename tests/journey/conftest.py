from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.process_settings import UNHURRIED, changed
from tests.support.running_shop import RunningShop
from workers.stack.stack import Stack

# What the tests' own environment sets for Django must not reach the stack: it chooses for itself.
UNSET = (
    "DATA_DIR",
    "RAZORPAY_BASE_URL",
    "LOG_LEVEL",
    "SECRET_KEY",
    "PORT",
    "FLOWER_PORT",
    "STANDIN_PORT",
)
CANARY_SECONDS = 2
QUICK = {
    "GATEWAY_TIMEOUT_SECONDS": "2",
    "STANDIN_RECEIPT_LAG_SECONDS": "0",
    "STANDIN_LIST_LAG_SECONDS": "0",
}
CHANGED = changed(
    CANARY_SECONDS=CANARY_SECONDS, CLAIM_SECONDS=6, RECEIPT_LAG_SECONDS=2, **UNHURRIED
)
# All buyers are guests, and one sale is for guests only.
GUESTS_ONLY = {"HELD_PERCENT_BY_GUESTS": "100"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real processes, as `make up` starts them; what a test kills, the test restarts."""
    environment = dict.fromkeys(UNSET, "") | QUICK | CHANGED | GUESTS_ONLY
    with Stack(tmp_path_factory.mktemp("stack"), environment, supervise=False) as running:
        with psycopg.connect(running.services.superuser_url, autocommit=True) as database:
            database.execute("UPDATE shop_stocklevel SET on_hand = 100000")
        yield running


@pytest.fixture
def running_shop(stack: Stack) -> Iterator[RunningShop]:
    with RunningShop(stack) as running_shop:
        yield running_shop
