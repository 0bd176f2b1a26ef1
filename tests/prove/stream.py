"""
A stream of simulated buyers: each arrives, fills a cart, posts it and follows a plan (`plans`).

Buyers use the public API and the payment form, whose part the stand-in's control API plays. The
journal records what they were told, to be compared with the database and the money.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.prove.client import POST_CHECKOUT, Answer, Client, GaveUp
from tests.support.buyers import ADDRESS

Json = dict[str, Any]

PAYING_SECONDS = 60  # of polling after paying; then the buyer closes the page
FORM_SECONDS = 20
SHARE_POSTED_THREE_TIMES = 0.1
MAX_CART_READS = 3  # then a buyer whose cart keeps changing leaves
MAX_FAILURES = 20  # of plans: a stream with more proves nothing
OPEN_STATUSES = frozenset({"queued", "processing", "awaiting_payment"})
REFUSED_ADDS = frozenset(
    {"quantity_too_large"}
)  # an add that was repeated after its answer was lost


@dataclass
class KnownCheckout:
    """A checkout as its buyer knows it."""

    id: str
    token: str
    key: str
    body: Json
    razorpay_order_ids: set[str] = field(default_factory=set)
    last: Json = field(default_factory=dict)
    other_ids: set[str] = field(default_factory=set)  # that the same key led to; must stay empty

    @property
    def status(self) -> str:
        return str(self.last.get("status", ""))


class Journal:
    """What buyers were told, and the posts that got no answer."""

    def __init__(self) -> None:
        self.checkouts: dict[str, KnownCheckout] = {}
        self.unresolved: list[tuple[str, str, Json]] = []  # token, key, body
        self.visits: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()  # situations, see `required`
        self.merged_guests: list[int] = []  # user ids of guests who have signed in
        self.failures: list[str] = []
        self._turn = threading.Lock()

    def accepted(self, answer: Answer, *, token: str, key: str, body: Json) -> KnownCheckout:
        content = answer.content
        with self._turn:
            checkout = self.checkouts.setdefault(
                content["id"], KnownCheckout(content["id"], token, key, body)
            )
            checkout.last = content
        return checkout

    def unanswered(self, token: str, key: str, body: Json) -> None:
        with self._turn:
            self.unresolved.append((token, key, body))

    def done(self, plan: str) -> None:
        with self._turn:
            self.visits[plan] += 1

    def reach(self, name: str) -> None:
        """Count a situation of `required`."""
        with self._turn:
            self.reached[name] += 1

    def failed(self, sentence: str) -> None:
        with self._turn:
            self.failures.append(sentence)


class BuyerLeft(Exception):
    """The shop refused to sell and the buyer left."""


class Buyer:
    """One visit. All random choices come from `rng`, so a seed repeats them."""

    def __init__(self, stream: Stream, rng: random.Random) -> None:
        self.stream = stream
        self.client = stream.client
        self.rng = rng
        self.token = ""
        self.account: Json = {}  # e-mail address and password; a guest has none

    def arrive(self, *, as_guest: bool = False) -> None:
        if not as_guest and self.rng.random() < 0.03:  # few: hashing a password takes 50 ms of CPU
            self.account = self._new_account()
            self.token = self._register(self.account)
        else:
            self.token = self.client.call("POST", "/api/auth/guest/").content["access"]

    def sign_in(self) -> None:
        """Register an account, then sign the guest in to it."""
        account = self._new_account()
        self._register(account)
        answer = self.client.call("POST", "/api/auth/token/", account, token=self.token)
        self.token = self._expect(answer, 200)["access"]
        self.account = account

    def _new_account(self) -> Json:
        return {"email": f"{self._name()}@example.com", "password": f"a-long-{self._name()}"}

    def _register(self, account: Json) -> str:
        answer = self.client.call("POST", "/api/auth/register/", account)
        if answer.status == 409:  # the first try worked, its answer was lost
            answer = self.client.call("POST", "/api/auth/token/", account)
        return str(answer.content["access"])

    def cart(self) -> Json:
        cart: Json = self._expect(self.client.call("GET", "/api/cart/", token=self.token), 200)
        return cart

    def _name(self) -> str:
        return f"b{self.rng.getrandbits(64):x}"

    def fill(self, variants: list[Json], *, quantity: int | None = None) -> None:
        for variant in variants:
            wish = {
                "product_id": variant["product_id"],
                "variant_id": variant["id"],
                "quantity": quantity or self.rng.choice((1, 1, 1, 2)),
            }
            answer = self.client.call("POST", "/api/cart/add/", wish, token=self.token)
            if answer.status == 400 and answer.code in REFUSED_ADDS:
                raise BuyerLeft
            self._expect(answer, 200)

    def form(self, **changes: Any) -> Json:
        """The body of a post, with the cart as the buyer's page shows it now."""
        cart = self.cart()
        seen = {"cart_id": cart["id"], "cart_version": cart["version"]}
        return {"payment_method": "razorpay", "shipping_address": ADDRESS, **seen, **changes}

    def post(self) -> KnownCheckout:
        """Post the cart until it is accepted, repeating with the same key."""
        for _ in range(MAX_CART_READS):
            body, key = self.form(), self.key()
            try:
                answer = self.client.call("POST", POST_CHECKOUT, body, token=self.token, key=key)
            except GaveUp:
                self.stream.journal.unanswered(self.token, key, body)
                raise
            if answer.code != "cart_changed":  # units ran out; the page shows the new cart
                break
        self._accepted(answer)
        return self.stream.journal.accepted(answer, token=self.token, key=key, body=body)

    def post_at_once(self, times: int) -> KnownCheckout:
        """Send the same post on several connections, as by a double click or a repeating proxy."""
        body, key = self.form(), self.key()
        send = lambda _: self.client.call(  # noqa: E731
            "POST", POST_CHECKOUT, body, token=self.token, key=key
        )
        with ThreadPoolExecutor(times) as pool:
            answers = list(pool.map(send, range(times)))
        for answer in answers:
            self._accepted(answer)
        checkouts = [
            self.stream.journal.accepted(answer, token=self.token, key=key, body=body)
            for answer in answers
        ]
        checkouts[0].other_ids |= {one.id for one in checkouts} - {checkouts[0].id}
        return checkouts[0]

    def poll(self, checkout: KnownCheckout) -> Json:
        path = f"/api/checkouts/{checkout.id}/"
        checkout.last = self._expect(self.client.call("GET", path, token=checkout.token), 200)
        if payment := checkout.last["payment"]:
            checkout.razorpay_order_ids.add(payment["razorpay_order_id"])
        return checkout.last

    def wait(
        self, checkout: KnownCheckout, *statuses: str, seconds: float = PAYING_SECONDS
    ) -> bool:
        """Poll at the server's pace until one of `statuses`, a final status or the timeout."""
        deadline = time.monotonic() + seconds
        while not checkout.last["poll"]["done"] and time.monotonic() < deadline:
            if checkout.status in statuses:
                return True
            time.sleep(checkout.last["poll"]["after_ms"] / 1000)
            self.poll(checkout)
        return checkout.status in statuses

    def payable(self, checkout: KnownCheckout) -> bool:
        """Wait until the checkout can be paid. False if it never can."""
        if self.wait(checkout, "awaiting_payment") and not checkout.razorpay_order_ids:
            self.poll(checkout)
        return checkout.status == "awaiting_payment"

    def pay(self, checkout: KnownCheckout, **tender: Any) -> Json:
        """Pay at the form. The fields that it hands to the page; empty if no answer came."""
        return dict(self.attempt(checkout, **tender).get("checkout") or {})

    def attempt(self, checkout: KnownCheckout, **tender: Any) -> Json:
        """Pay at the form. The payment; empty if no answer came."""
        order_id = checkout.last["payment"]["razorpay_order_id"]
        return self.stream.form_call({"order_id": order_id, "outcome": "captured", **tender})

    def post_again(self, body: Json, *, key: str = "") -> Answer:
        """Send one more POST and journal the checkout of a 202."""
        answer = self.client.call("POST", POST_CHECKOUT, body, token=self.token, key=key)
        if answer.status == 202:
            self.stream.journal.accepted(answer, token=self.token, key=key, body=body)
        return answer

    def is_open(self, checkout: KnownCheckout) -> bool:
        """Poll once. Whether the checkout is open."""
        self.poll(checkout)
        return checkout.status in OPEN_STATUSES

    def confirm(self, checkout: KnownCheckout, fields: Json) -> None:
        if fields:
            path = f"/api/checkouts/{checkout.id}/confirm/"
            self._expect(self.client.call("POST", path, fields, token=self.token), 202)

    def cancel(self, checkout: KnownCheckout) -> bool:
        path = f"/api/checkouts/{checkout.id}/cancel/"
        answer = self.client.call("POST", path, {}, token=self.token)
        return self._expect(answer, 202, 409) is not None and answer.status == 202

    def key(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def _accepted(self, answer: Answer) -> None:
        if answer.status == 409 and answer.code in {"cart_changed", "payment_in_progress"}:
            raise BuyerLeft  # a repeated add changed the cart, or money is on its way
        self._expect(answer, 202)

    def _expect(self, answer: Answer, *statuses: int) -> Any:
        if answer.status not in statuses:
            raise AssertionError(f"answered {answer.status}, not {statuses}: {answer.content}")
        return answer.content


def user_id_in(token: str) -> int:
    """The user id in an access token."""
    payload = token.split(".")[1]
    content: Json = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return int(content["user_id"])


Plan = Callable[[Buyer, KnownCheckout], None]


class Stream:
    """
    `buyers_at_a_time` buyers between `start` and `stop`.

    `seed` decides what each does. `plans` maps plans to weights; those in `for_the_last_unit` buy
    one unit of `last`, variants of which one or two units are on hand.
    """

    def __init__(
        self,
        client: Client,
        standin_url: str,
        variants: list[Json],
        *,
        seed: int,
        buyers_at_a_time: int,
        plans: Mapping[Plan, int],
        last: Sequence[Json] = (),
        for_the_last_unit: Collection[Plan] = (),
    ) -> None:
        self.client = client
        self.variants = variants
        self.last = last
        self.journal = Journal()
        self.events_arrive = threading.Lock()  # held while events are dropped, or must not be
        self._standin_url = f"{standin_url}/_standin"
        self._seed = seed
        self._plans = dict(plans)
        self._for_the_last_unit = for_the_last_unit
        self._width = buyers_at_a_time
        self._serial = itertools.count()
        self._flows = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sessions = threading.local()

    def start(self) -> None:
        self._flows.set()
        self._threads = [
            threading.Thread(target=self._start_buyers, name=f"buyer-{n}", daemon=True)
            for n in range(self._width)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop new buyers and wait for the present ones."""
        self._flows.clear()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _start_buyers(self) -> None:
        while self._flows.is_set():
            self._visit(random.Random(f"{self._seed}:{next(self._serial)}"))

    def _visit(self, rng: random.Random) -> None:
        plan = rng.choices(list(self._plans), list(self._plans.values()))[0]
        buyer = Buyer(self, rng)
        try:
            buyer.arrive()
            if plan in self._for_the_last_unit:
                buyer.fill([rng.choice(self.last)], quantity=1)
            else:
                buyer.fill(rng.sample(self.variants, rng.choice((1, 1, 2))))
            three_times = rng.random() < SHARE_POSTED_THREE_TIMES
            checkout = buyer.post_at_once(3) if three_times else buyer.post()
            plan(buyer, checkout)
        except BuyerLeft:
            self.journal.done("left: refused")
        except Exception as error:  # noqa: BLE001 - the run reports it, and is red
            self.journal.failed(f"{plan.__name__}: {error!r}"[:600])
            if len(self.journal.failures) > MAX_FAILURES:
                self._flows.clear()
        else:
            self.journal.done(plan.__name__)

    def form_call(self, tender: Json) -> Json:
        """Pay at the form. Not repeated: without an answer the outcome is unknown."""
        return self._standin("payments", tender)

    def bank_call(self, payment_id: str, move: str) -> Json:
        """A bank changes a payment: `authorize` or `capture`. Not repeated either."""
        return self._standin(f"payments/{payment_id}/{move}", {})

    def _standin(self, path: str, content: Json) -> Json:
        session = getattr(self._sessions, "http", None)
        if session is None:
            session = self._sessions.http = requests.Session()
            session.trust_env = False
        with suppress(requests.RequestException):
            answer = session.post(f"{self._standin_url}/{path}", json=content, timeout=FORM_SECONDS)
            if answer.status_code == 200:
                return dict(answer.json())
        return {}
