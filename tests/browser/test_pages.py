"""Every page, for everybody: narrow screens, screen readers, slow lines, strict policies."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response

from tests.browser.buyer import PHONE, Visitor

DESK = {"width": 1180, "height": 760}
PICTURES = {
    "product-light.png",
    "cart-light.png",
    "checkout-with-slips-light.png",
    "ready-to-pay-light.png",
    "declined-light.png",
    "paid-light.png",
    "catalogue-dark.png",
    "order-dark.png",
}
MAX_PAGE_BYTES = 60_000  # of our own code
SERIOUS = {"serious", "critical"}


def walk(visitor: Visitor) -> Iterator[str]:
    """Through every page that a buyer meets; the name of each once it is there."""
    visitor.open("/")
    yield "catalogue"
    visitor.open("/?q=copper")
    yield "search"
    visitor.open("/products/block-printed-notebook/")
    yield "product"
    visitor.open("/cart/")
    visitor.page.get_by_text("Nothing in it yet.").wait_for()
    yield "empty cart"
    visitor.add("handloom-cotton-throw", variant="Indigo")
    yield "added"
    visitor.add("assam-second-flush", quantity=2)
    visitor.open("/cart/")
    visitor.page.locator("[data-lines] li").nth(1).wait_for()
    yield "cart"
    visitor.open("/checkout/")
    visitor.page.locator("[data-brief] li").nth(1).wait_for()
    yield "checkout"
    visitor.click("Place the order")
    visitor.page.locator(".error").first.wait_for()
    yield "checkout with slips"
    visitor.fill_address()
    visitor.click("Place the order")
    visitor.reads("Ready to pay")
    yield "ready to pay"
    visitor.click("Pay ₹")
    visitor.in_form("fail")
    visitor.in_form("dismiss")
    visitor.reads("That payment did not go through")
    yield "declined"
    visitor.click("Try again")
    visitor.in_form("upi")
    visitor.reads("Paid. Thank you!")
    yield "paid"
    visitor.click("See the order")
    visitor.page.get_by_role("heading", name="Goes to").wait_for()
    yield "order"
    visitor.open("/orders/")
    visitor.page.locator("[data-orders] li").first.wait_for()
    yield "orders"
    visitor.open("/sign-in/")
    yield "sign in"


@pytest.mark.parametrize(("color_scheme", "screen"), [("light", PHONE), ("dark", DESK)])
def test_axe_finds_no_serious_fault_on_any_page(
    visitors: Callable[..., Visitor], color_scheme: str, screen: dict[str, int]
):
    """`SCREENSHOTS=docs/screenshots` takes the pictures for the README on the way."""
    visitor = visitors(color_scheme=color_scheme, viewport=screen, reduced_motion="reduce")
    faults = {}

    for name in walk(visitor):
        file = f"{name.replace(' ', '-')}-{color_scheme}.png"
        if file in PICTURES and (folder := os.environ.get("SCREENSHOTS")):
            visitor.page.screenshot(path=Path(folder) / file)
        violations = Axe().run(visitor.page).response["violations"]
        if serious := [it for it in violations if it["impact"] in SERIOUS]:
            faults[name] = [(it["id"], [node["html"] for node in it["nodes"]]) for it in serious]

    assert faults == {}


def test_no_page_scrolls_sideways_on_a_narrow_phone(visitor: Visitor):
    widths = {name: widest(visitor.page) for name in walk(visitor)}

    assert {name: width for name, width in widths.items() if width > 360} == {}


def widest(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_no_page_loads_more_than_60_kilobytes_of_our_code(visitor: Visitor):
    weights: dict[str, int] = {}
    loaded: dict[str, int] = {}
    ours = re.compile(re.escape(visitor.base_url) + r"/static/shop/.*\.(js|css)$")

    def weigh(response: Response) -> None:
        if ours.match(response.url) and response.ok:
            loaded[response.url] = int(response.headers["content-length"])

    visitor.page.on("response", weigh)
    for name in walk(visitor):
        weights[name] = sum(loaded.values())
        loaded.clear()

    assert max(weights.values()) > 10_000  # or nothing was weighed
    assert {name: it for name, it in weights.items() if it > MAX_PAGE_BYTES} == {}


def test_pages_ask_nobody_but_the_shop_and_the_payment_form(visitor: Visitor):
    asked = set()
    visitor.page.on("request", lambda request: asked.add("/".join(request.url.split("/", 3)[:3])))

    for _ in walk(visitor):
        pass

    assert asked == {visitor.base_url, visitor.floor.stack.standin_url}


def test_a_script_slipped_into_a_page_does_not_run(visitor: Visitor):
    visitor.forgiven += ("Content Security Policy",)
    visitor.open("/")

    visitor.page.evaluate(
        "const it = document.createElement('script'); it.textContent = 'window.ran = true';"
        "document.body.append(it)"
    )

    assert visitor.page.evaluate("window.ran") is None


def test_an_unknown_product_is_a_page_that_leads_back(visitor: Visitor):
    visitor.forgiven += ("/products/nothing/",)
    visitor.open("/products/nothing/")

    visitor.reads("This shelf is empty")
    visitor.click("To the shop")
    visitor.reads("Good things, made to last")
