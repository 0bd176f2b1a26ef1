"""
One real checkout over HTTP, as a storefront makes it: sign up, add to cart, POST, poll, pay, poll.

Uses only the shop's API, and prints a timeline measured from the POST.
"""

import secrets
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

import requests

MAX_WAIT_SECONDS = 30  # for each of the two states that it waits for
CALL_TIMEOUT_SECONDS = 10
SEARCH = "steriliser"
ADDRESS = {
    "name": "Asha Rao",
    "line1": "14 Rest House Road",
    "city": "Bengaluru",
    "state": "Karnataka",
    "postal_code": "560001",
    "country": "IN",
    "phone": "+919845012345",
}

Json = dict[str, Any]


class DemoFailed(Exception):
    """The shop did something unexpected. The message is a sentence."""


class Interrupted(Exception):
    """`stop_asked` was set."""


class Storefront:
    """
    A buyer's browser, as the API sees it. Waits end early when `stop_asked` is set.

    Every method raises `DemoFailed` when the shop does something unexpected.
    """

    def __init__(
        self,
        shop_url: str,
        standin_url: str,
        *,
        stop_asked: threading.Event,
        announce: Callable[[str], None] = print,
    ) -> None:
        self._shop_url = shop_url
        self._standin_url = standin_url
        self._stop_asked = stop_asked
        self._announce = announce
        self._http = requests.Session()
        self._http.trust_env = False  # everything is on this machine
        self._posted_at = 0.0
        self._status = ""

    def buy(self) -> Json:
        """Buy one product. Returns the paid checkout."""
        self._sign_up()
        cart = self._fill_cart()
        checkout = self._post(cart)
        checkout = self._poll(checkout, until="awaiting_payment")
        self._check_amount(cart, checkout)
        self._pay(checkout)
        checkout = self._poll(checkout, until="paid")
        self._check_order(checkout)
        self._print_steps(checkout)
        return checkout

    # --- the buyer's actions ----------------------------------------------------------------------

    def _sign_up(self) -> None:
        email = f"asha.{secrets.token_hex(4)}@example.com"
        account = {"email": email, "password": secrets.token_urlsafe(12)}
        reply, _ = self._call("POST", "/api/auth/register/", expect=201, json=account)
        token = (
            reply.get("access") or self._call("POST", "/api/auth/token/", json=account)[0]["access"]
        )
        self._http.headers["Authorization"] = f"Bearer {token}"
        self._print(f"signed up as {email}")

    def _fill_cart(self) -> Json:
        found, _ = self._call("GET", f"/api/products/?search={SEARCH}")
        for product in found["results"]:
            for variant in product["variants"]:
                if variant["available"]:
                    line = {"product_id": product["id"], "variant_id": variant["id"]}
                    self._call("POST", "/api/cart/add/", json=line | {"quantity": 1})
                    cart, _ = self._call("GET", "/api/cart/")
                    total = in_rupees(cart["total_paise"])
                    self._print(f"put {product['name']} into the cart: {total}")
                    return cart
        raise DemoFailed(f"a search for {SEARCH!r} finds nothing that is in stock")

    def _post(self, cart: Json) -> Json:
        self._posted_at = time.time()
        checkout, headers = self._call(
            "POST",
            "/api/payments/create-from-cart/",
            expect=202,
            json={
                "payment_method": "razorpay",
                "shipping_address": ADDRESS,
                "cart_id": cart["id"],
                "cart_version": cart["version"],
                "expected_total_paise": cart["total_paise"],
            },
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        if "Location" not in headers:
            raise DemoFailed("the answer to the POST has no Location header to poll")
        self._print(f"posted: accepted as checkout {checkout['id']}")
        self._status = checkout["status"]
        return checkout | {"_url": headers["Location"], "_etag": headers.get("ETag", "")}

    def _pay(self, checkout: Json) -> None:
        order_id = checkout["payment"]["razorpay_order_id"]
        request = {"order_id": order_id, "outcome": "captured"}
        payment, _ = self._call("POST", "/_standin/payments", base=self._standin_url, json=request)
        payment_id = payment.get("razorpay_payment_id") or payment.get("id")
        self._print(f"paid {order_id} with {payment_id}; only the webhook tells the shop")

    # --- the wait ---------------------------------------------------------------------------------

    def _poll(self, checkout: Json, *, until: str) -> Json:
        """Poll as often as the shop says, until the status is `until`. Uses ETag and 304."""
        url, etag = checkout["_url"], checkout["_etag"]
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while checkout["status"] != until:
            if checkout["poll"]["done"]:
                message = (checkout.get("error") or {}).get("message") or checkout["message"]
                raise DemoFailed(f"the checkout ended as {checkout['status']}: {message}")
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"after {MAX_WAIT_SECONDS} s the checkout is {checkout['status']}, not {until}"
                )
            if self._stop_asked.wait(checkout["poll"]["after_ms"] / 1000):
                raise Interrupted
            answer = self._request("GET", url, headers={"If-None-Match": etag})
            if answer.status_code == 304:
                continue
            checkout = self._json(answer, 200)
            etag = answer.headers.get("ETag", "")
            self._print_status(checkout)
        return checkout | {"_url": url, "_etag": etag}

    def _print_status(self, checkout: Json) -> None:
        if checkout["status"] != self._status:
            self._status = checkout["status"]
            self._print(f"{self._status}: {checkout['message']}")

    # --- checks -----------------------------------------------------------------------------------

    def _check_amount(self, cart: Json, checkout: Json) -> None:
        asked = checkout["payment"]["amount"]
        if asked != cart["total_paise"]:
            raise DemoFailed(
                f"the cart is {cart['total_paise']} paise, Razorpay is to take {asked}"
            )

    def _check_order(self, checkout: Json) -> None:
        if not (order := checkout["order"]):
            raise DemoFailed("the checkout is paid but names no order")
        self._call("GET", f"/api/orders/{order['number']}/")
        self._print(
            f"order {order['number']} of {in_rupees(checkout['amount_paise'])} is confirmed"
        )

    def _print_steps(self, checkout: Json) -> None:
        self._announce("\n  step                     started   finished  (ms after the POST)")
        for step in checkout["steps"]:
            if step["status"] != "done":
                raise DemoFailed(f"paid, but step {step['name']} is {step['status']}")
            started, finished = (self._ms(step[at]) for at in ("started_at", "finished_at"))
            self._announce(f"  {step['name']:<22} {started:>9} {finished:>10}")

    def _ms(self, at: str | None) -> str:
        if at is None:
            return "-"
        return f"{(datetime.fromisoformat(at).timestamp() - self._posted_at) * 1000:.0f}"

    # --- HTTP -------------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, *, expect: int = 200, base: str = "", **request: Any
    ) -> tuple[Json, Any]:
        answer = self._request(method, urljoin(base or self._shop_url, path), **request)
        return self._json(answer, expect), answer.headers

    def _request(self, method: str, path: str, **request: Any) -> requests.Response:
        url = urljoin(self._shop_url, path)
        try:
            return self._http.request(method, url, timeout=CALL_TIMEOUT_SECONDS, **request)
        except requests.RequestException as error:
            raise DemoFailed(f"{method} {url} got no answer: {error}") from error

    def _json(self, answer: requests.Response, expect: int) -> Json:
        call = f"{answer.request.method} {answer.url}"
        if answer.status_code != expect:
            raise DemoFailed(
                f"{call} answered {answer.status_code}, not {expect}: {answer.text[:500]}"
            )
        try:
            content = answer.json()
        except ValueError as error:
            raise DemoFailed(f"{call} answered no JSON: {answer.text[:200]}") from error
        if not isinstance(content, dict):
            raise DemoFailed(f"{call} answered {content!r:.200}, not an object")
        return content

    def _print(self, line: str) -> None:
        moment = f"{(time.time() - self._posted_at) * 1000:6.0f} ms" if self._posted_at else " " * 9
        self._announce(f"{moment}  {line}")


def in_rupees(paise: int) -> str:
    """`2248896` as `₹22,488.96`, grouped as in India: ₹12,34,567.00."""
    rupees, rest = divmod(paise, 100)
    head, tail = str(rupees)[:-3], str(rupees)[-3:]
    groups = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return f"₹{','.join([*groups, tail])}.{rest:02}"
