from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.process_settings import FAST_STACK, GUESTS_ONLY
from tests.support.running_shop import RunningShop
from workers.stack.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real processes, as `make up` starts them. A test restarts what it kills."""
    with Stack(
        tmp_path_factory.mktemp("stack"), FAST_STACK | GUESTS_ONLY, supervise=False
    ) as running:
        with psycopg.connect(running.services.superuser_url, autocommit=True) as database:
            database.execute("UPDATE shop_stocklevel SET on_hand = 100000")
        yield running


@pytest.fixture
def running_shop(stack: Stack) -> Iterator[RunningShop]:
    with RunningShop(stack) as running_shop:
        yield running_shop
