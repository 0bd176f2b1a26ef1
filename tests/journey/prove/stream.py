"""
Buyers without end: each comes, fills a cart, posts it and then does what buyers do.

They know the public API and the pay form (the stand-in's control API plays the form). What they
were told is kept in the journal, to be held against the database and the money.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.journey.prove.client import POST_CHECKOUT, Answer, Client, GaveUp
from tests.support.buyers import ADDRESS

Json = dict[str, Any]

PAYING_SECONDS = 60  # of polling after paying; then the buyer closes the page
FORM_SECONDS = 20
LOOKS_AT_THE_CART = 3  # before a buyer whose cart keeps changing leaves
ENOUGH_FAILURES = 20  # of buyers' own code: a stream that fails so often proves nothing
REFUSED_ADDS = frozenset({"quantity_too_large"})  # an add whose answer was lost, sent again


@dataclass
class Known:
    """A checkout as its buyer knows it."""

    id: str
    token: str
    key: str
    body: Json
    razorpay_order_ids: set[str] = field(default_factory=set)
    last: Json = field(default_factory=dict)
    other_ids: set[str] = field(default_factory=set)  # the same key led elsewhere: must stay empty

    @property
    def status(self) -> str:
        return str(self.last.get("status", ""))


class Journal:
    """Everything buyers were told, and the posts of which they do not know what became."""

    def __init__(self) -> None:
        self.checkouts: dict[str, Known] = {}
        self.unresolved: list[tuple[str, str, Json]] = []  # token, key, body
        self.visits: Counter[str] = Counter()
        self.failures: list[str] = []
        self._turn = threading.Lock()

    def accepted(self, answer: Answer, *, token: str, key: str, body: Json) -> Known:
        checkout = answer.content
        with self._turn:
            known = self.checkouts.setdefault(
                checkout["id"], Known(checkout["id"], token, key, body)
            )
            known.last = checkout
        return known

    def unanswered(self, token: str, key: str, body: Json) -> None:
        with self._turn:
            self.unresolved.append((token, key, body))

    def done(self, plan: str) -> None:
        with self._turn:
            self.visits[plan] += 1

    def failed(self, sentence: str) -> None:
        with self._turn:
            self.failures.append(sentence)


class Left(Exception):
    """The buyer was told that it is not to be had, and left."""


class Buyer:
    """One visit. Whatever the dice decide comes from `rng`, so that a seed can be replayed."""

    def __init__(self, stream: Stream, rng: random.Random) -> None:
        self.stream = stream
        self.client = stream.client
        self.rng = rng
        self.token = ""

    def come(self) -> None:
        if self.rng.random() < 0.03:  # few: a password costs the shop a twentieth of a second
            account = {"email": f"{self._name()}@example.com", "password": f"a-long-{self._name()}"}
            answer = self.client.insist("POST", "/api/auth/register/", account)
            if answer.status == 409:  # the first try had worked, its answer was lost
                answer = self.client.insist("POST", "/api/auth/token/", account)
        else:
            answer = self.client.insist("POST", "/api/auth/guest/")
        self.token = answer.content["access"]

    def _name(self) -> str:
        return f"b{self.rng.getrandbits(64):x}"

    def fill(self, variants: list[Json]) -> None:
        for variant in variants:
            wish = {
                "product_id": variant["product_id"],
                "variant_id": variant["id"],
                "quantity": self.rng.choice((1, 1, 1, 2)),
            }
            answer = self.client.insist("POST", "/api/cart/add/", wish, token=self.token)
            if answer.status == 400 and answer.code in REFUSED_ADDS:
                raise Left
            self._expect(answer, 200)

    def form(self, **changes: Any) -> Json:
        """What is posted: the cart as this buyer's page shows it now."""
        cart = self._expect(self.client.insist("GET", "/api/cart/", token=self.token), 200)
        seen = {"cart_id": cart["id"], "cart_version": cart["version"]}
        return {"payment_method": "razorpay", "shipping_address": ADDRESS, **seen, **changes}

    def post(self) -> Known:
        """Post the cart until it is accepted: with the same key, as often as it takes."""
        for _ in range(LOOKS_AT_THE_CART):
            body, key = self.form(), self._key()
            try:
                answer = self.client.insist("POST", POST_CHECKOUT, body, token=self.token, key=key)
            except GaveUp:
                self.stream.journal.unanswered(self.token, key, body)
                raise
            if answer.code != "cart_changed":  # units of it ran out: the page shows that
                break
        self._accepted(answer)
        return self.stream.journal.accepted(answer, token=self.token, key=key, body=body)

    def post_at_once(self, times: int) -> Known:
        """The same post on several connections: a double click, a proxy that repeats."""
        body, key = self.form(), self._key()
        send = lambda _: self.client.insist(  # noqa: E731
            "POST", POST_CHECKOUT, body, token=self.token, key=key
        )
        with ThreadPoolExecutor(times) as pool:
            answers = list(pool.map(send, range(times)))
        for answer in answers:
            self._accepted(answer)
        known = [
            self.stream.journal.accepted(answer, token=self.token, key=key, body=body)
            for answer in answers
        ]
        known[0].other_ids |= {it.id for it in known} - {known[0].id}
        return known[0]

    def look(self, known: Known) -> Json:
        path = f"/api/checkouts/{known.id}/"
        known.last = self._expect(self.client.insist("GET", path, token=known.token), 200)
        if payment := known.last["payment"]:
            known.razorpay_order_ids.add(payment["razorpay_order_id"])
        return known.last

    def wait(self, known: Known, *statuses: str, seconds: float = PAYING_SECONDS) -> bool:
        """Poll as told, until one of `statuses` or the end. Whether one of them came."""
        deadline = time.monotonic() + seconds
        while not known.last["poll"]["done"] and time.monotonic() < deadline:
            if known.status in statuses:
                return True
            time.sleep(known.last["poll"]["after_ms"] / 1000)
            self.look(known)
        return known.status in statuses

    def payable(self, known: Known) -> bool:
        """Wait until the form can be opened. False if it never could."""
        if self.wait(known, "awaiting_payment") and not known.razorpay_order_ids:
            self.look(known)
        return known.status == "awaiting_payment"

    def pay(self, known: Known, **tender: Any) -> Json:
        """Pay at the form; the fields it hands to the page, or nothing if it was not heard of."""
        order_id = known.last["payment"]["razorpay_order_id"]
        return self.stream.form_call({"order_id": order_id, "outcome": "captured", **tender})

    def confirm(self, known: Known, fields: Json) -> None:
        if fields:
            path = f"/api/checkouts/{known.id}/confirm/"
            self._expect(self.client.insist("POST", path, fields, token=self.token), 202)

    def cancel(self, known: Known) -> bool:
        path = f"/api/checkouts/{known.id}/cancel/"
        answer = self.client.insist("POST", path, {}, token=self.token)
        return self._expect(answer, 202, 409) is not None and answer.status == 202

    def _key(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def _accepted(self, answer: Answer) -> None:
        if answer.status == 409 and answer.code in {"cart_changed", "payment_in_progress"}:
            raise Left  # a lost answer to an add, sent again; or money that is on its way
        self._expect(answer, 202)

    def _expect(self, answer: Answer, *statuses: int) -> Any:
        if answer.status not in statuses:
            raise AssertionError(f"answered {answer.status}, not {statuses}: {answer.content}")
        return answer.content


# --- what buyers do once their cart is posted -----------------------------------------------------


def pays_and_confirms(buyer: Buyer, known: Known) -> None:
    if buyer.payable(known):
        buyer.confirm(known, buyer.pay(known, outcome=buyer.rng.choice(("captured", "authorized"))))
        buyer.wait(known)


def pays_and_says_nothing(buyer: Buyer, known: Known) -> None:
    if buyer.payable(known):
        buyer.pay(known, outcome=buyer.rng.choice(("captured", "authorized")))
        buyer.wait(known)


def fails_then_pays(buyer: Buyer, known: Known) -> None:
    if buyer.payable(known):
        buyer.pay(known, outcome="failed")
        buyer.confirm(known, buyer.pay(known))
        buyer.wait(known)


def cancels(buyer: Buyer, known: Known) -> None:
    if buyer.rng.random() < 0.7:
        buyer.payable(known)
    buyer.cancel(known)
    buyer.look(known)


def abandons(buyer: Buyer, known: Known) -> None:
    buyer.payable(known)


def pays_after_cancelling(buyer: Buyer, known: Known) -> None:
    """The form was still open in another tab."""
    if buyer.payable(known):
        buyer.cancel(known)
        buyer.pay(known, outcome=buyer.rng.choice(("captured", "authorized")), force=True)
        buyer.look(known)


def pays_twice(buyer: Buyer, known: Known) -> None:
    if buyer.payable(known):
        fields = buyer.pay(known)
        with buyer.stream.events_arrive:  # a lost event about this one would never be made up for
            buyer.pay(known, force=True)
        buyer.confirm(known, fields)
        buyer.wait(known)


def pays_another_amount(buyer: Buyer, known: Known) -> None:
    if buyer.payable(known):
        buyer.confirm(known, buyer.pay(known, amount=known.last["amount_paise"] - 100))
        buyer.wait(known, "in_review")


def changes_the_cart(buyer: Buyer, known: Known) -> None:
    """Another line, another post: it takes the place of the first."""
    if buyer.rng.random() < 0.5:
        buyer.payable(known)
    buyer.fill([buyer.rng.choice(buyer.stream.shelf)])
    pays_and_confirms(buyer, buyer.post())


PLANS: dict[Callable[[Buyer, Known], None], int] = {
    pays_and_confirms: 46,
    pays_and_says_nothing: 20,
    fails_then_pays: 5,
    cancels: 8,
    abandons: 5,
    pays_after_cancelling: 4,
    pays_twice: 4,
    pays_another_amount: 1,
    changes_the_cart: 7,
}
POSTED_THRICE_SHARE = 0.1


class Stream:
    """So many buyers at a time, as long as it flows. `seed` decides what each of them does."""

    def __init__(
        self,
        client: Client,
        standin_url: str,
        shelf: list[Json],
        *,
        seed: int,
        buyers_at_a_time: int,
    ) -> None:
        self.client = client
        self.shelf = shelf
        self.journal = Journal()
        self.events_arrive = threading.Lock()  # held while events must not be lost, or are
        self._pay_url = f"{standin_url}/_standin/payments"
        self._seed = seed
        self._width = buyers_at_a_time
        self._serial = itertools.count()
        self._flows = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sessions = threading.local()

    def start(self) -> None:
        self._flows.set()
        self._threads = [
            threading.Thread(target=self._flow, name=f"buyer-{n}", daemon=True)
            for n in range(self._width)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new buyers; returns when those who are here have gone."""
        self._flows.clear()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _flow(self) -> None:
        while self._flows.is_set():
            self._visit(random.Random(f"{self._seed}:{next(self._serial)}"))

    def _visit(self, rng: random.Random) -> None:
        plan = rng.choices(list(PLANS), list(PLANS.values()))[0]
        buyer = Buyer(self, rng)
        try:
            buyer.come()
            buyer.fill(rng.sample(self.shelf, rng.choice((1, 1, 2))))
            thrice = rng.random() < POSTED_THRICE_SHARE
            known = buyer.post_at_once(3) if thrice else buyer.post()
            plan(buyer, known)
        except Left:
            self.journal.done("left: not to be had")
        except Exception as error:  # noqa: BLE001 - the run reports it, and is red
            self.journal.failed(f"{plan.__name__}: {error!r}"[:600])
            if len(self.journal.failures) > ENOUGH_FAILURES:
                self._flows.clear()
        else:
            self.journal.done(plan.__name__)

    def form_call(self, tender: Json) -> Json:
        """A payment at the form. Not repeated: if no answer comes, nobody knows what happened."""
        session = getattr(self._sessions, "http", None)
        if session is None:
            session = self._sessions.http = requests.Session()
            session.trust_env = False
        with suppress(requests.RequestException):
            answer = session.post(self._pay_url, json=tender, timeout=FORM_SECONDS)
            if answer.status_code == 200:
                return dict(answer.json()["checkout"] or {})
        return {}
