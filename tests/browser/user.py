"""A person at the shop's pages: what they do, what they see, and what the browser complains of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Self

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.support.buyers import ADDRESS, Buyer, Json
from tests.support.running_shop import RunningShop

PHONE = {"width": 360, "height": 740}
PATIENCE_MS = 15_000
FIELDS = {
    "Full name": ADDRESS["name"],
    "Mobile number": "98450 12345",
    "House, street": ADDRESS["line1"],
    "PIN code": "560 001",
    "Town or city": ADDRESS["city"],
}
# The browser logs every answer of 400 and more. These are meant: the bank declines by one.
DECLINED = "/v1/payments/create/ajax"


class BrowserUser:
    def __init__(self, context: BrowserContext, running_shop: RunningShop) -> None:
        self.context = context
        self.running_shop = running_shop
        self.base_url = running_shop.stack.base_url
        self.complaints: list[str] = []
        self.forgiven: tuple[str, ...] = (DECLINED,)  # parts of complaints that a test provokes
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page = context.new_page()

    @classmethod
    def arrive(cls, browser: Browser, running_shop: RunningShop, **options: Any) -> Self:
        defaults = {"viewport": PHONE, "locale": "en-IN", "timezone_id": "Asia/Kolkata"}
        return cls(browser.new_context(**(defaults | options)), running_shop)

    def leave(self) -> None:
        self.context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        line = f"{message.type}: {message.text} {message.location.get('url', '')}"
        if message.type in ("error", "warning") and not any(it in line for it in self.forgiven):
            self.complaints.append(line)

    # --- doing ------------------------------------------------------------------------------------

    def open(self, path: str, page: Page | None = None) -> None:
        (page or self.page).goto(self.base_url + path)

    def click(self, name: str) -> None:
        """A button or a link of the page proper, by a part of its name."""
        main = self.page.locator("main")
        button = main.get_by_role("button", name=name)
        button.or_(main.get_by_role("link", name=name)).first.click()

    def add(self, slug: str, *, variant: str = "", quantity: int = 1) -> None:
        self.open(f"/products/{slug}/")
        if variant:
            self.page.get_by_label(variant).check()
        self.page.get_by_label("Quantity").fill(str(quantity))
        self.click("Add to cart")
        expect(self.page.get_by_role("link", name="Go to the cart")).to_be_visible()

    def field(self, label: str) -> Locator:
        """Of the delivery address."""
        return self.page.get_by_role("group", name="Delivery address").get_by_label(label)

    def fill_address(self) -> None:
        for label, value in FIELDS.items():
            self.field(label).fill(value)
        self.field("State").select_option(ADDRESS["state"])

    def go_to_form(self, slug: str = "terracotta-planter") -> None:
        """From the catalogue to a filled-in form."""
        self.add(slug)
        self.open("/checkout/")
        expect(self.page.locator("[data-brief] li")).not_to_have_count(0)
        self.fill_address()

    def order(self, slug: str = "terracotta-planter") -> None:
        """From the catalogue to the status page of a checkout that can be paid."""
        self.go_to_form(slug)
        self.click("Place the order")
        self.reads("Ready to pay")

    def in_form(self, choice: str) -> None:
        """Press a button of the payment form."""
        self.page.locator(f"[data-standin={choice}]").click()

    # --- seeing -----------------------------------------------------------------------------------

    def reads(self, title: str, *sentences: str) -> None:
        """Wait for a page with this heading, and these sentences in its main part."""
        heading = self.page.get_by_role("heading", level=1, name=title)
        expect(heading).to_be_visible(timeout=PATIENCE_MS)
        for sentence in sentences:
            expect(self.page.locator("main")).to_contain_text(sentence)

    @property
    def checkout_id(self) -> str:
        found = re.search(r"/checkout/([0-9a-f-]{36})", self.page.url)
        assert found, self.page.url
        return found[1]

    # --- what stands behind -----------------------------------------------------------------------

    def as_program(self) -> Buyer:
        """The same person by another device: the API, with the tokens of this browser."""
        tokens = json.loads(self.page.evaluate("localStorage.getItem('pakka.tokens')"))
        buyer = Buyer(self.base_url)
        buyer.http.headers["Authorization"] = f"Bearer {tokens['access']}"
        return buyer

    def status(self) -> Json:
        return self.as_program().call("GET", f"/api/checkouts/{self.checkout_id}/")

    def checkouts(self) -> list[Json]:
        return self.as_program().call("GET", "/api/checkouts/")["results"]


NewUser = Callable[..., BrowserUser]  # the fixture `new_user`
