"""The documentation of the API, under the same content policy as every page."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.user import BrowserUser


def test_the_docs_work_under_the_content_policy(buyer: BrowserUser):
    buyer.open("/api/docs/")
    operation = buyer.page.locator("#operations-products-products_retrieve")
    operation.click()

    expect(operation.get_by_role("button", name="Try it out")).to_be_visible()
