"""The operations page in a browser: live figures, for staff, on a desktop and on a phone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.hashers import make_password
from playwright.sync_api import Page, expect

from tests.browser.user import PHONE, BrowserUser, NewUser
from tests.support.buyers import ADDRESS
from tests.support.running_shop import RunningShop

DESK = {"width": 1440, "height": 900}
PASSWORD = "look but do not touch"
SOON_MS = 30_000
PICTURES = {("light", 1440): "operations-light.png", ("dark", 360): "operations-phone-dark.png"}

Staff = Callable[..., BrowserUser]


def make_user(running_shop: RunningShop, email: str, *, is_staff: bool) -> None:
    running_shop.rows(
        """
        INSERT INTO shop_user
            (email, password, is_staff, is_superuser, is_guest, is_active, created_at)
        VALUES (%s, %s, %s, false, false, true, %s)
        ON CONFLICT (email) DO UPDATE SET is_staff = excluded.is_staff RETURNING id
        """,
        *(email, make_password(PASSWORD, hasher="argon2"), is_staff, datetime.now(UTC)),
    )


def sign_in(user: BrowserUser, email: str) -> None:
    user.page.get_by_label("Email").fill(email)
    user.page.get_by_label("Password").fill(PASSWORD)
    user.page.get_by_role("button", name="Log in").click()


@pytest.fixture
def staff(new_user: NewUser, running_shop: RunningShop) -> Staff:
    """Opens the operations page as a staff user without a group."""
    make_user(running_shop, "looks@example.com", is_staff=True)

    def arrive(query: str = "", **options: object) -> BrowserUser:
        user = new_user(**({"viewport": DESK} | options))
        user.forgiven += ("/favicon.ico",)  # the admin's own form asks for one
        user.open(f"/ops/{query}")
        sign_in(user, "looks@example.com")
        expect(tile(user.page, "Started")).to_have_text(re.compile(r"\d"))
        return user

    return arrive


@pytest.fixture
def busy(running_shop: RunningShop) -> RunningShop:
    """Checkouts of every kind: paid, waiting, cancelled, of an empty cart."""
    buyers = running_shop.arrive(4)
    posted = running_shop.post_all(buyers[:3])
    ready = [
        buyer.wait(checkout, "awaiting_payment")
        for buyer, checkout in zip(buyers[:3], posted, strict=True)
    ]
    running_shop.pay(ready[0])
    buyers[0].wait(ready[0], "paid")
    buyers[1].call("POST", ready[1]["links"]["cancel"], expect=202)
    buyers[3].call("DELETE", "/api/cart/")
    terms = {"payment_method": "razorpay", "shipping_address": ADDRESS}
    buyers[3].call("POST", "/api/payments/create-from-cart/", terms, expect=400)
    return running_shop


def tile(page: Page, name: str):
    found = page.locator("[data-tiles] > div").filter(
        has=page.locator("dt", has_text=re.compile(f"^{name}$"))
    )
    return found.locator("dd")


def number(page: Page, name: str) -> int:
    return int(tile(page, name).evaluate("tile => tile.firstChild.textContent.replaceAll(',', '')"))


# --- content -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("color_scheme", "screen"), [("light", DESK), ("dark", PHONE)])
def test_axe_finds_no_violation_and_the_content_policy_holds(
    staff: Staff, busy: RunningShop, color_scheme: str, screen: dict[str, int]
):
    """`SCREENSHOTS=docs/screenshots` also takes the pictures for the documents."""
    user = staff(color_scheme=color_scheme, viewport=screen, reduced_motion="reduce")

    expect(user.page.locator("canvas")).to_have_count(3)
    violations = Axe().run(user.page, context=".ops").response["violations"]

    assert [
        (violation["id"], [node["html"] for node in violation["nodes"]]) for violation in violations
    ] == []
    if folder := os.environ.get("SCREENSHOTS"):
        name = PICTURES[color_scheme, screen["width"]]
        user.page.screenshot(path=Path(folder) / name)


def test_a_narrow_phone_does_not_scroll_sideways(staff: Staff, busy: RunningShop):
    page = staff(viewport=PHONE).page

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_every_panel_has_its_figures(staff: Staff, busy: RunningShop):
    page = staff().page

    for panel, words in {
        "funnel": "Payable",
        "times": "payable",
        "reasons": "cancelled by the buyer",
        "queues": "Create Razorpay order",
        "webhooks": "arriving",
        "stock": "TEA-100",
        "carts": "refused: cart_empty",
        "breaker": "closed",
        "stuck": "Nothing is stuck.",
    }.items():
        expect(page.locator(f"[data-{panel}]")).to_contain_text(words)


# --- polling -------------------------------------------------------------------------------------


def test_a_checkout_shows_without_a_reload(staff: Staff, busy: RunningShop):
    page = staff().page
    page.evaluate("window.isTheSamePage = true")
    before = number(page, "Started")

    [buyer] = busy.arrive(1)
    buyer.post()

    expect(tile(page, "Started")).to_contain_text(str(before + 1), timeout=SOON_MS)
    assert page.evaluate("window.isTheSamePage")


def test_stale_figures_are_marked_until_they_are_fresh(staff: Staff, busy: RunningShop):
    user = staff()
    user.forgiven += ("/ops/data.json",)
    user.page.route("**/ops/data.json*", lambda route: route.abort())
    trouble = user.page.get_by_role("alert")
    expect(trouble).to_contain_text("figures are stale", timeout=SOON_MS)

    user.page.unroute("**/ops/data.json*")

    expect(trouble).to_be_hidden(timeout=SOON_MS)


def test_a_signed_out_user_gets_a_link_to_sign_in(staff: Staff, busy: RunningShop):
    user = staff()
    user.forgiven += ("/ops/data.json",)

    user.context.clear_cookies()

    again = user.page.get_by_role("alert").get_by_role("link", name="Sign in")
    expect(again).to_be_visible(timeout=SOON_MS)
    again.click()
    expect(user.page).to_have_url(re.compile("/admin/login/"))


# --- ranges and tables ---------------------------------------------------------------------------


def test_a_range_is_chosen_and_stays_after_a_reload(staff: Staff, busy: RunningShop):
    page = staff().page

    page.get_by_role("link", name="24h").click()
    expect(page.locator("[data-per]").first).to_have_text("per 15 min")
    page.reload()

    expect(page.locator("[data-per]").first).to_have_text("per 15 min")
    expect(page.get_by_role("link", name="24h")).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page.locator("[data-per]").first).to_have_text("per minute")


def test_a_custom_range_is_in_the_shops_time_zone(staff: Staff, busy: RunningShop):
    page = staff().page
    page.get_by_text("Custom").click()
    page.get_by_role("textbox", name="From").fill("2026-01-01T10:00")
    page.get_by_role("textbox", name="To").fill("2026-01-01T16:00")

    page.get_by_role("button", name="Show").click()

    expect(page.locator("[data-as-of]")).to_contain_text("1 Jan, 10:00 – 1 Jan, 16:00")
    assert number(page, "Started") == 0


def test_an_invalid_range_is_explained(staff: Staff, busy: RunningShop):
    user = staff()
    user.forgiven += ("/ops/data.json",)

    user.open("/ops/?range=1y")

    expect(user.page.get_by_role("alert")).to_contain_text("range must be one of")


def test_a_table_is_downloaded_for_the_range_on_the_page(staff: Staff, busy: RunningShop):
    page = staff("?range=15m").page

    with page.expect_download() as download:
        page.locator("[data-csv=series]").click()

    lines = Path(download.value.path()).read_text().splitlines()
    assert re.fullmatch(r"series-\d{8}-\d{4}\.csv", download.value.suggested_filename)
    assert lines[0].startswith("from,bucket_seconds,started")
    assert 15 <= len(lines) - 1 <= 16
    assert sum(int(line.split(",")[2]) for line in lines[1:]) >= 3


# --- access --------------------------------------------------------------------------------------


def test_an_anonymous_user_comes_back_after_signing_in(staff: Staff):
    page = staff("?range=7d").page

    expect(page).to_have_url(re.compile(r"/ops/\?range=7d$"))


def test_a_user_who_is_no_longer_staff_is_refused(staff: Staff, running_shop: RunningShop):
    user = staff()
    user.forgiven += ("/ops/",)
    make_user(running_shop, "looks@example.com", is_staff=False)

    answer = user.page.goto(f"{user.base_url}/ops/")

    assert answer is not None
    assert answer.status == 403
