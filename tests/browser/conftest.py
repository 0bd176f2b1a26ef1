"""A real browser on the real shop: Debian's Chromium, driven by Playwright, against `make up`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.user import BrowserUser, NewUser
from tests.support.process_settings import FAST_STACK
from tests.support.running_shop import RunningShop
from workers.stack.stack import Stack

PLENTY_UNITS = 1000


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real processes, as `make up` starts them."""
    with Stack(tmp_path_factory.mktemp("browser-stack"), FAST_STACK) as running:
        yield running


@pytest.fixture
def running_shop(stack: Stack) -> Iterator[RunningShop]:
    """The shop behind the page, with full shelves and a stand-in without faults."""
    with RunningShop(stack) as running_shop:
        running_shop.rows(
            "UPDATE shop_stocklevel SET on_hand = held + %s RETURNING 1", PLENTY_UNITS
        )
        running_shop.standin("PUT", "faults", [])
        running_shop.standin("PATCH", "script", {"drop_all": False})
        yield running_shop


# Not for the session: while Playwright runs, Django takes its thread for an asynchronous one.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.fail("chromium is missing: apt-get install chromium, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--no-proxy-server", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def new_user(browser: Browser, running_shop: RunningShop) -> Iterator[NewUser]:
    """
    Open a browser profile for a new person: a phone in Kolkata, unless `options` say otherwise.

    At the end of the test, each warning and error in a page's console must have been expected.
    """
    users: list[BrowserUser] = []

    def open_profile(**options: object) -> BrowserUser:
        users.append(BrowserUser.arrive(browser, running_shop, **options))
        return users[-1]

    yield open_profile
    for user in users:
        user.leave()
    assert [line for user in users for line in user.complaints] == []


@pytest.fixture
def buyer(new_user: NewUser) -> BrowserUser:
    return new_user()


@pytest.fixture
def database(running_shop: RunningShop) -> psycopg.Connection[tuple[object, ...]]:
    return running_shop.database
