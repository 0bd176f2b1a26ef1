"""Every page, for everybody: narrow screens, screen readers, slow lines, strict policies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response

from tests.browser.user import PHONE, BrowserUser, NewUser

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


def walk(buyer: BrowserUser) -> Iterator[str]:
    """Through every page that a buyer meets; the name of each once it is there."""
    buyer.open("/")
    yield "catalogue"
    buyer.open("/?q=copper")
    yield "search"
    buyer.open("/products/block-printed-notebook/")
    yield "product"
    buyer.open("/cart/")
    buyer.page.get_by_text("Your cart is empty.").wait_for()
    yield "empty cart"
    buyer.add("handloom-cotton-throw", variant="Indigo")
    yield "added"
    buyer.add("assam-second-flush", quantity=2)
    buyer.open("/cart/")
    buyer.page.locator("[data-lines] li").nth(1).wait_for()
    yield "cart"
    buyer.open("/checkout/")
    buyer.page.locator("[data-brief] li").nth(1).wait_for()
    yield "checkout"
    buyer.click("Place the order")
    buyer.page.locator(".error").first.wait_for()
    yield "checkout with slips"
    buyer.fill_address()
    buyer.click("Place the order")
    buyer.reads("Ready to pay")
    yield "ready to pay"
    buyer.click("Pay ₹")
    buyer.in_form("fail")
    buyer.in_form("dismiss")
    buyer.reads("That payment did not go through")
    yield "declined"
    buyer.click("Try again")
    buyer.in_form("upi")
    buyer.reads("Paid. Thank you!")
    yield "paid"
    buyer.click("See the order")
    buyer.page.get_by_role("heading", name="Delivery to").wait_for()
    yield "order"
    buyer.open("/orders/")
    buyer.page.locator("[data-orders] li").first.wait_for()
    yield "orders"
    buyer.open("/sign-in/")
    yield "sign in"


@pytest.mark.parametrize(("color_scheme", "screen"), [("light", PHONE), ("dark", DESK)])
def test_axe_finds_no_serious_fault_on_any_page(
    new_user: NewUser, color_scheme: str, screen: dict[str, int]
):
    """`SCREENSHOTS=docs/screenshots` takes the pictures for the README on the way."""
    buyer = new_user(color_scheme=color_scheme, viewport=screen, reduced_motion="reduce")
    faults = {}

    for name in walk(buyer):
        file = f"{name.replace(' ', '-')}-{color_scheme}.png"
        if file in PICTURES and (folder := os.environ.get("SCREENSHOTS")):
            buyer.page.screenshot(path=Path(folder) / file)
        violations = Axe().run(buyer.page).response["violations"]
        if serious := [it for it in violations if it["impact"] in SERIOUS]:
            faults[name] = [(it["id"], [node["html"] for node in it["nodes"]]) for it in serious]

    assert faults == {}


def test_no_page_scrolls_sideways_on_a_narrow_phone(buyer: BrowserUser):
    widths = {name: widest(buyer.page) for name in walk(buyer)}

    assert {name: width for name, width in widths.items() if width > 360} == {}


def widest(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_no_page_loads_more_than_60_kilobytes_of_our_code(buyer: BrowserUser):
    weights: dict[str, int] = {}
    loaded: dict[str, int] = {}
    ours = re.compile(re.escape(buyer.base_url) + r"/static/shop/.*\.(js|css)$")

    def weigh(response: Response) -> None:
        if ours.match(response.url) and response.ok:
            loaded[response.url] = int(response.headers["content-length"])

    buyer.page.on("response", weigh)
    for name in walk(buyer):
        weights[name] = sum(loaded.values())
        loaded.clear()

    assert max(weights.values()) > 10_000  # or nothing was weighed
    assert {name: it for name, it in weights.items() if it > MAX_PAGE_BYTES} == {}


def test_pages_load_only_from_the_shop_and_the_payment_form(buyer: BrowserUser):
    asked = set()
    buyer.page.on("request", lambda request: asked.add("/".join(request.url.split("/", 3)[:3])))

    for _ in walk(buyer):
        pass

    assert asked == {buyer.base_url, buyer.running_shop.stack.standin_url}


def test_an_injected_script_does_not_run(buyer: BrowserUser):
    buyer.forgiven += ("Content Security Policy",)
    buyer.open("/")

    buyer.page.evaluate(
        "const it = document.createElement('script'); it.textContent = 'window.ran = true';"
        "document.body.append(it)"
    )

    assert buyer.page.evaluate("window.ran") is None


def test_an_unknown_product_is_a_page_with_a_link_to_the_shop(buyer: BrowserUser):
    buyer.forgiven += ("/products/nothing/",)
    buyer.open("/products/nothing/")

    buyer.reads("Page not found")
    buyer.click("To the shop")
    buyer.reads("Good things, made to last")
