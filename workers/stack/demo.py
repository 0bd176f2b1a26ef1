"""
One real checkout over HTTP, as a storefront makes it: sign up, add to cart, post, poll, pay, poll.

Knows the shop only by its API, and prints a timeline measured from the post.
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

PATIENCE_SECONDS = 30  # for each of the two waits
CALL_SECONDS = 10
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


class Deviation(Exception):
    """The shop did something else than it promises; the message is a sentence."""


class Interrupted(Exception):
    """Somebody asked to stop."""


class Storefront:
    """
    A buyer's browser, as far as the API sees it. Waits end early when `stop_asked` is set.

    Every method raises `Deviation` when the shop does not do what it should.
    """

    def __init__(
        self,
        shop_url: str,
        standin_url: str,
        *,
        stop_asked: threading.Event,
        tell: Callable[[str], None] = print,
    ) -> None:
        self._shop_url = shop_url
        self._standin_url = standin_url
        self._stop_asked = stop_asked
        self._tell = tell
        self._http = requests.Session()
        self._http.trust_env = False  # all of it is on this machine
        self._posted_at = 0.0
        self._status = ""

    def buy(self) -> Json:
        """Take one product from the catalogue to a paid order. Returns the paid checkout."""
        self._sign_up()
        cart = self._fill_cart()
        checkout = self._post(cart)
        checkout = self._poll(checkout, until="awaiting_payment")
        self._check_amount(cart, checkout)
        self._pay(checkout)
        checkout = self._poll(checkout, until="paid")
        self._check_order(checkout)
        self._tell_steps(checkout)
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
        self._say(f"signed up as {email}")

    def _fill_cart(self) -> Json:
        found, _ = self._call("GET", f"/api/products/?search={SEARCH}")
        for product in found["results"]:
            for variant in product["variants"]:
                if variant["available"]:
                    line = {"product_id": product["id"], "variant_id": variant["id"]}
                    self._call("POST", "/api/cart/add/", json=line | {"quantity": 1})
                    cart, _ = self._call("GET", "/api/cart/")
                    total = in_rupees(cart["total_paise"])
                    self._say(f"put {product['name']} into the cart: {total}")
                    return cart
        raise Deviation(f"a search for {SEARCH!r} finds nothing that is in stock")

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
            raise Deviation("the answer to the post has no Location to poll")
        self._say(f"posted: accepted as checkout {checkout['id']}")
        self._status = checkout["status"]
        return checkout | {"_at": headers["Location"], "_etag": headers.get("ETag", "")}

    def _pay(self, checkout: Json) -> None:
        order_id = checkout["payment"]["razorpay_order_id"]
        wanted = {"order_id": order_id, "outcome": "captured"}
        payment, _ = self._call("POST", "/_standin/payments", base=self._standin_url, json=wanted)
        payment_id = payment.get("razorpay_payment_id") or payment.get("id")
        self._say(f"paid {order_id} with {payment_id}; the browser says nothing, a webhook comes")

    # --- the wait ---------------------------------------------------------------------------------

    def _poll(self, checkout: Json, *, until: str) -> Json:
        """Ask at the shop's pace until `until`; an unchanged answer costs it no body."""
        where, etag = checkout["_at"], checkout["_etag"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while checkout["status"] != until:
            if checkout["poll"]["done"]:
                said = (checkout.get("error") or {}).get("message") or checkout["message"]
                raise Deviation(f"the checkout ended as {checkout['status']}: {said}")
            if time.monotonic() > deadline:
                raise Deviation(
                    f"after {PATIENCE_SECONDS} s the checkout is {checkout['status']}, not {until}"
                )
            if self._stop_asked.wait(checkout["poll"]["after_ms"] / 1000):
                raise Interrupted
            answer = self._ask("GET", where, headers={"If-None-Match": etag})
            if answer.status_code == 304:
                continue
            checkout = self._json(answer, 200)
            etag = answer.headers.get("ETag", "")
            self._say_status(checkout)
        return checkout | {"_at": where, "_etag": etag}

    def _say_status(self, checkout: Json) -> None:
        if checkout["status"] != self._status:
            self._status = checkout["status"]
            self._say(f"{self._status}: {checkout['message']}")

    # --- what must be true ------------------------------------------------------------------------

    def _check_amount(self, cart: Json, checkout: Json) -> None:
        asked = checkout["payment"]["amount"]
        if asked != cart["total_paise"]:
            raise Deviation(f"the cart is {cart['total_paise']} paise, Razorpay is to take {asked}")

    def _check_order(self, checkout: Json) -> None:
        if not (order := checkout["order"]):
            raise Deviation("the checkout is paid but names no order")
        self._call("GET", f"/api/orders/{order['number']}/")
        self._say(f"order {order['number']} of {in_rupees(checkout['amount_paise'])} is confirmed")

    def _tell_steps(self, checkout: Json) -> None:
        self._tell("\n  step                     started   finished  (ms after the post)")
        for step in checkout["steps"]:
            if step["status"] != "done":
                raise Deviation(f"paid, but step {step['name']} is {step['status']}")
            started, finished = (self._ms(step[at]) for at in ("started_at", "finished_at"))
            self._tell(f"  {step['name']:<22} {started:>9} {finished:>10}")

    def _ms(self, at: str | None) -> str:
        if at is None:
            return "-"
        return f"{(datetime.fromisoformat(at).timestamp() - self._posted_at) * 1000:.0f}"

    # --- HTTP -------------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, *, expect: int = 200, base: str = "", **request: Any
    ) -> tuple[Json, Any]:
        answer = self._ask(method, urljoin(base or self._shop_url, path), **request)
        return self._json(answer, expect), answer.headers

    def _ask(self, method: str, where: str, **request: Any) -> requests.Response:
        url = urljoin(self._shop_url, where)
        try:
            return self._http.request(method, url, timeout=CALL_SECONDS, **request)
        except requests.RequestException as error:
            raise Deviation(f"{method} {url} got no answer: {error}") from error

    def _json(self, answer: requests.Response, expect: int) -> Json:
        call = f"{answer.request.method} {answer.url}"
        if answer.status_code != expect:
            raise Deviation(
                f"{call} answered {answer.status_code}, not {expect}: {answer.text[:500]}"
            )
        try:
            content = answer.json()
        except ValueError as error:
            raise Deviation(f"{call} answered no JSON: {answer.text[:200]}") from error
        if not isinstance(content, dict):
            raise Deviation(f"{call} answered {content!r:.200}, not an object")
        return content

    def _say(self, line: str) -> None:
        moment = f"{(time.time() - self._posted_at) * 1000:6.0f} ms" if self._posted_at else " " * 9
        self._tell(f"{moment}  {line}")


def in_rupees(paise: int) -> str:
    """`2248896` as `₹22,488.96`, grouped as in India: ₹12,34,567.00."""
    rupees, rest = divmod(paise, 100)
    head, tail = str(rupees)[:-3], str(rupees)[-3:]
    groups = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return f"₹{','.join([*groups, tail])}.{rest:02}"
