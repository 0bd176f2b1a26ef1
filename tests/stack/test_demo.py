"""The demo names what went wrong. (A demo that succeeds is in test_commands.)"""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from workers.stack.demo import DemoFailed, Interrupted, Storefront, in_rupees

Answers = dict[tuple[str, str], tuple[int, dict[str, Any]]]
OpenShop = Callable[[Answers], Storefront]

VARIANT = {"id": 2, "available": 5}
PAYMENT = {"razorpay_order_id": "order_1", "amount": 2248896}
WAITING = {
    "id": "c1",
    "status": "awaiting_payment",
    "message": "You can pay now.",
    "poll": {"after_ms": 1, "done": False},
    "payment": PAYMENT,
}
GOOD: Answers = {
    ("POST", "/api/auth/register/"): (201, {"access": "token"}),
    ("GET", "/api/products/"): (200, {"results": [{"id": 1, "name": "UV", "variants": [VARIANT]}]}),
    ("POST", "/api/cart/add/"): (200, {}),
    ("GET", "/api/cart/"): (200, {"id": 3, "version": 1, "total_paise": 2248896}),
    ("POST", "/api/payments/create-from-cart/"): (202, WAITING | {"status": "queued"}),
    ("GET", "/api/checkouts/c1/"): (200, WAITING),
    ("POST", "/_standin/payments"): (200, {"razorpay_payment_id": "pay_1"}),
}


@pytest.fixture
def open_shop() -> Iterator[OpenShop]:
    """An HTTP server that gives the `answers` of a test."""
    opened: list[ThreadingHTTPServer] = []

    def open_one(answers: Answers) -> Storefront:
        class Shop(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = answers[self.command, self.path.partition("?")[0]]
                self.send_response(status)
                self.send_header("Location", "/api/checkouts/c1/")
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            do_GET = do_POST = answer

            def log_message(self, *_words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
        threading.Thread(target=server.serve_forever).start()
        opened.append(server)
        url = f"http://127.0.0.1:{server.server_port}"
        return Storefront(url, url, stop_asked=threading.Event(), announce=lambda _line: None)

    yield open_one
    for server in opened:
        server.shutdown()
        server.server_close()


def test_an_error_of_the_shop_is_shown_with_the_call_and_the_answer(open_shop: OpenShop):
    shop = open_shop(GOOD | {("POST", "/api/cart/add/"): (409, {"error": "Sold out."})})

    with pytest.raises(
        DemoFailed, match=r"POST \S+/api/cart/add/ answered 409, not 200: .*Sold out"
    ):
        shop.buy()


def test_a_failed_checkout_is_shown_with_its_message_for_the_buyer(open_shop: OpenShop):
    ended = {"status": "failed", "error": {"message": "Only 1 left."}, "poll": {"done": True}}
    shop = open_shop(GOOD | {("GET", "/api/checkouts/c1/"): (200, WAITING | ended)})

    with pytest.raises(DemoFailed, match=r"^the checkout ended as failed: Only 1 left\.$"):
        shop.buy()


def test_an_amount_that_is_not_the_cart_s_is_not_paid(open_shop: OpenShop):
    wrong = WAITING | {"payment": PAYMENT | {"amount": 1}}
    shop = open_shop(GOOD | {("GET", "/api/checkouts/c1/"): (200, wrong)})

    with pytest.raises(DemoFailed, match="the cart is 2248896 paise, Razorpay is to take 1"):
        shop.buy()


def test_a_shop_without_stock_is_reported(open_shop: OpenShop):
    shop = open_shop(GOOD | {("GET", "/api/products/"): (200, {"results": []})})

    with pytest.raises(DemoFailed, match="nothing that is in stock"):
        shop.buy()


def test_a_paid_checkout_without_an_order_is_reported(open_shop: OpenShop):
    paid = {"status": "paid", "order": None, "poll": {"done": True}}
    answers = GOOD | {("POST", "/api/payments/create-from-cart/"): (202, WAITING)}
    shop = open_shop(answers | {("GET", "/api/checkouts/c1/"): (200, WAITING | paid)})

    with pytest.raises(DemoFailed, match="paid but names no order"):
        shop.buy()


def test_a_shop_that_does_not_answer_is_reported():
    shop = Storefront(
        "http://127.0.0.1:9", "", stop_asked=threading.Event(), announce=lambda _l: None
    )

    with pytest.raises(
        DemoFailed, match=r"POST http://127.0.0.1:9/api/auth/register/ got no answer"
    ):
        shop.buy()


def test_a_request_to_stop_ends_the_demo(open_shop: OpenShop):
    shop = open_shop(GOOD)
    shop._stop_asked.set()

    with pytest.raises(Interrupted):
        shop.buy()


@pytest.mark.parametrize(
    ("paise", "shown"),
    [
        (0, "₹0.00"),
        (5, "₹0.05"),
        (100000, "₹1,000.00"),
        (2248896, "₹22,488.96"),
        (1234567890, "₹1,23,45,678.90"),
    ],
)
def test_rupees_are_grouped_as_in_india(paise: int, shown: str):
    assert in_rupees(paise) == shown
