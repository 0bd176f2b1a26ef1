"""The stand-in's checkout.js in a real browser, on a shop's page with a strict policy."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.support.standin import KEY_ID, StandIn

SHOP_SCRIPT = """
const options = JSON.parse(decodeURIComponent(location.hash.slice(1)));
window.heard = [];
const hear = (what) => (detail) => {
  window.heard.push([what, detail ?? null]);
  document.body.dataset.heard = window.heard.length;
};
const modal = { ...options.modal, ondismiss: hear("dismissed") };
window.rzp = new Razorpay({ handler: hear("paid"), ...options, modal });
rzp.on("payment.failed", hear("failed"));
rzp.open();
"""


class Shop:
    """A page that opens the form at once, and the forms that were posted to the shop."""

    def __init__(self, standin: StandIn) -> None:
        self.posts: list[dict[str, str]] = []
        self._standin_url = standin.base_url
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def page_for(self, order_id: str, **options: object) -> str:
        options = {"key": KEY_ID, "order_id": order_id, "name": "Kirana", **options}
        return f"{self.url}/pay#{quote(json.dumps(options))}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        shop = self
        standin_url = self._standin_url
        policy = (
            f"default-src 'none'; script-src 'self' {standin_url}; connect-src {standin_url}; "
            f"form-action 'self' {standin_url}"
        )
        page = (
            f'<!doctype html><title>Shop</title><body><script src="{standin_url}/v1/checkout.js">'
            '</script><script src="/shop.js"></script></body>'
        )

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path == "/shop.js":
                    self._send(SHOP_SCRIPT, "text/javascript")
                else:
                    self._send(page if path == "/pay" else f"<p>{path}</p>", "text/html")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                shop.posts.append(dict(parse_qsl(body, keep_blank_values=True)))
                self._send("<p>thank you</p>", "text/html")

            def _send(self, text: str, content_type: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Security-Policy", policy)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_context()
        browser.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """Fails the test if the page logs an error, as a violated policy does."""
    page = browser.new_page()
    page.set_default_timeout(5_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type == "error" and "Security" in message.text
            else None
        ),
    )
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def shop(standin: StandIn) -> Iterator[Shop]:
    shop = Shop(standin)
    yield shop
    shop.close()


@pytest.fixture
def order_id(create_order) -> str:
    return create_order(amount=2_248_896)["id"]


def press(page: Page, choice: str) -> None:
    page.locator(f"[data-standin={choice}]").click()


def heard(page: Page, count: int) -> list[list]:
    expect(page.locator("body")).to_have_attribute("data-heard", str(count))
    return page.evaluate("window.heard")


@pytest.mark.parametrize("choice", ["upi", "card"])
def test_the_handler_is_called_with_a_payment(page, shop, client, order_id, choice):
    page.goto(shop.page_for(order_id))
    expect(page.get_by_text("₹22,488.96")).to_be_visible()

    press(page, choice)

    [[what, fields]] = heard(page, 1)
    assert what == "paid"
    assert client.utility.verify_payment_signature(fields)
    expect(page.locator("[data-standin=checkout]")).to_have_count(0)
    assert client.order.fetch(order_id)["status"] == "paid"


def test_the_form_covers_the_page_under_a_policy_without_styles(page, shop, order_id):
    page.goto(shop.page_for(order_id))

    veil = page.locator("[data-standin=checkout] .veil")

    assert veil.evaluate("(veil) => getComputedStyle(veil).position") == "fixed"
    assert page.evaluate("document.adoptedStyleSheets.length + document.styleSheets.length") == 0


def test_a_failed_buyer_tries_again_in_the_same_form(page, shop, client, order_id):
    page.goto(shop.page_for(order_id))

    press(page, "fail")
    [[what, detail]] = heard(page, 1)
    expect(page.locator("[data-standin=error]")).to_contain_text("declined by the bank")
    press(page, "upi")

    assert what == "failed"
    assert detail["error"]["reason"] == "payment_failed"
    assert detail["error"]["metadata"]["order_id"] == order_id
    assert [entry[0] for entry in heard(page, 2)] == ["failed", "paid"]
    assert client.order.fetch(order_id)["attempts"] == 2


def test_without_retry_a_failure_is_the_end(page, shop, order_id):
    page.goto(shop.page_for(order_id, retry={"enabled": False}))

    press(page, "fail")

    heard(page, 1)
    expect(page.locator("[data-standin=upi]")).to_be_disabled()


@pytest.mark.parametrize("way", ["button", "escape", "script"])
def test_a_buyer_can_leave_the_form(page, shop, client, order_id, way):
    page.goto(shop.page_for(order_id))

    if way == "button":
        press(page, "dismiss")
    elif way == "escape":
        page.keyboard.press("Escape")
    else:
        page.evaluate("rzp.close()")

    assert heard(page, 1) == [["dismissed", None]]
    assert client.order.fetch(order_id)["status"] == "created"


def test_escape_can_be_switched_off(page, shop, order_id):
    page.goto(shop.page_for(order_id, modal={"escape": False}))

    page.keyboard.press("Escape")

    expect(page.locator("[data-standin=checkout]")).to_have_count(1)


def test_the_form_closes_after_its_timeout(page, shop, order_id):
    page.goto(shop.page_for(order_id, timeout=0.2))

    assert heard(page, 1) == [["dismissed", None]]


def test_a_closed_tab_pays_and_the_page_gets_no_answer(page, shop, client, order_id):
    page.goto(shop.page_for(order_id))

    press(page, "vanish")

    expect(page.locator("[data-standin=vanished]")).to_be_visible()
    assert page.evaluate("window.heard") == []
    assert client.order.fetch(order_id)["status"] == "paid"


def test_a_bank_that_does_not_answer_leaves_the_form_waiting(page, shop, client, order_id):
    page.goto(shop.page_for(order_id))

    press(page, "silent")

    expect(page.locator("[data-standin=error]")).to_contain_text("not answered")
    [payment] = client.order.payments(order_id)["items"]
    assert payment["status"] == "created"


def test_an_order_of_another_key_is_refused_in_the_form(page, shop, order_id):
    page.goto(shop.page_for(order_id, key="rzp_test_other"))

    expect(page.locator("[data-standin=error]")).to_contain_text("api key provided is invalid")


def test_prefill_and_notes_reach_the_payment(page, shop, client, order_id):
    prefill = {"email": "asha@example.com", "contact": "+919812345678"}
    page.goto(shop.page_for(order_id, prefill=prefill, notes={"cart": "7"}))

    press(page, "upi")

    fields = heard(page, 1)[0][1]
    payment = client.payment.fetch(fields["razorpay_payment_id"])
    assert (payment["email"], payment["contact"]) == tuple(prefill.values())
    assert payment["notes"] == {"cart": "7"}


def test_a_callback_url_is_posted_the_three_fields(page, shop, client, order_id):
    page.goto(shop.page_for(order_id, callback_url=f"{shop.url}/back?checkout=7"))

    press(page, "upi")

    page.wait_for_url("**/back?checkout=7")
    assert client.utility.verify_payment_signature(shop.posts[0])


# Redirects


@pytest.fixture
def hosted(page, shop, order_id):
    """The form as a separate page, after a redirect."""
    page.goto(shop.page_for(order_id, redirect=True, callback_url=f"{shop.url}/back"))
    page.wait_for_url("**/v1/checkout/embedded")
    return page


def test_a_redirected_buyer_comes_back_with_the_three_fields(hosted, shop, client):
    press(hosted, "upi")

    hosted.wait_for_url("**/back")
    assert client.utility.verify_payment_signature(shop.posts[0])


def test_a_redirected_failure_comes_back_as_error_fields(hosted, shop, order_id):
    press(hosted, "fail")

    hosted.wait_for_url("**/back")
    [fields] = shop.posts
    metadata = json.loads(fields.pop("error[metadata]"))
    assert metadata["order_id"] == order_id
    assert set(fields) == {
        "error[code]",
        "error[description]",
        "error[source]",
        "error[step]",
        "error[reason]",
    }
    assert fields["error[reason]"] == "payment_failed"


def test_a_redirected_buyer_who_leaves_comes_back_as_cancelled(hosted, shop):
    press(hosted, "dismiss")

    hosted.wait_for_url("**/back")
    assert shop.posts[0]["error[reason]"] == "payment_cancelled"


def test_a_redirected_buyer_may_leave_to_a_page_of_the_shop(page, shop, order_id):
    options = {"callback_url": f"{shop.url}/back", "cancel_url": f"{shop.url}/left?cart=7"}
    page.goto(shop.page_for(order_id, redirect=True, **options))

    press(page, "dismiss")

    page.wait_for_url("**/left?cart=7")
    assert parse_qs(urlsplit(page.url).query) == {"cart": ["7"]}
    assert shop.posts == []
