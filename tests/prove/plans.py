"""What a buyer does after posting the cart, and how often each plan is drawn."""

from __future__ import annotations

from tests.prove.client import Answer
from tests.prove.stream import Buyer, KnownCheckout, Plan, user_id_in

ANOTHER_STREET = "7 Brigade Road"


def pays_and_confirms(buyer: Buyer, checkout: KnownCheckout) -> None:
    if buyer.payable(checkout):
        buyer.confirm(
            checkout, buyer.pay(checkout, outcome=buyer.rng.choice(("captured", "authorized")))
        )
        buyer.wait(checkout)


def pays_and_says_nothing(buyer: Buyer, checkout: KnownCheckout) -> None:
    if buyer.payable(checkout):
        buyer.pay(checkout, outcome=buyer.rng.choice(("captured", "authorized")))
        buyer.wait(checkout)


def fails_then_pays(buyer: Buyer, checkout: KnownCheckout) -> None:
    if buyer.payable(checkout):
        buyer.pay(checkout, outcome="failed")
        buyer.confirm(checkout, buyer.pay(checkout))
        buyer.wait(checkout)


def cancels(buyer: Buyer, checkout: KnownCheckout) -> None:
    if buyer.rng.random() < 0.7:
        buyer.payable(checkout)
    buyer.cancel(checkout)
    buyer.poll(checkout)


def abandons(buyer: Buyer, checkout: KnownCheckout) -> None:
    buyer.payable(checkout)


def pays_after_cancelling(buyer: Buyer, checkout: KnownCheckout) -> None:
    """The form was still open in another tab."""
    if buyer.payable(checkout):
        buyer.cancel(checkout)
        buyer.pay(checkout, outcome=buyer.rng.choice(("captured", "authorized")), force=True)
        buyer.poll(checkout)


def pays_twice(buyer: Buyer, checkout: KnownCheckout) -> None:
    if buyer.payable(checkout):
        fields = buyer.pay(checkout)
        with buyer.stream.events_arrive:  # nothing replaces a lost event about this payment
            buyer.pay(checkout, force=True)
        buyer.confirm(checkout, fields)
        buyer.wait(checkout)


def pays_another_amount(buyer: Buyer, checkout: KnownCheckout) -> None:
    """The payment goes to review. Until staff decide, the cart cannot be posted again."""
    if not buyer.payable(checkout):
        return
    buyer.confirm(checkout, buyer.pay(checkout, amount=checkout.last["amount_paise"] - 100))
    if buyer.wait(checkout, "in_review"):
        answer = buyer.post_again(buyer.form(), key=buyer.key())
        if buyer.poll(checkout)["status"] == "in_review":
            refused(answer, "payment_in_progress")
            buyer.stream.journal.reach("a POST beside a review is refused")


def changes_the_cart(buyer: Buyer, checkout: KnownCheckout) -> None:
    """A second post, with another line, supersedes the first checkout."""
    if buyer.rng.random() < 0.5:
        buyer.payable(checkout)
    buyer.fill([buyer.rng.choice(buyer.stream.variants)])
    pays_and_confirms(buyer, buyer.post())


# --- the last unit --------------------------------------------------------------------------------


def repeats_the_post(buyer: Buyer, checkout: KnownCheckout) -> None:
    """Without a key, with the same and with another key: each finds the open checkout."""
    if not buyer.payable(checkout):
        return
    for key in ("", checkout.key, buyer.key()):
        answer = buyer.post_again(checkout.body, key=key)
        if not buyer.is_open(checkout):
            return
        finds(answer, checkout)
        buyer.stream.journal.reach("a repeated POST finds the checkout of the last unit")
    pays_and_confirms(buyer, checkout)


def uses_two_tabs(buyer: Buyer, checkout: KnownCheckout) -> None:
    """The second tab reloads the cart and posts what it shows."""
    if not buyer.payable(checkout):
        return
    body = buyer.form()
    problems = [item["problem"] for item in buyer.cart()["items"]]
    answer = buyer.post_again(body, key=buyer.key())
    if not buyer.is_open(checkout):
        return
    if any(problems):
        raise AssertionError(f"the buyer's own unit is shown as {problems}")
    finds(answer, checkout)
    buyer.stream.journal.reach("a second tab finds the checkout of the last unit")
    pays_and_confirms(buyer, checkout)


def changes_the_address(buyer: Buyer, checkout: KnownCheckout) -> None:
    """The second checkout supersedes the first and takes over its unit."""
    if not buyer.payable(checkout):
        return
    body = buyer.form()
    body["shipping_address"] = body["shipping_address"] | {"line1": ANOTHER_STREET}
    was_open = buyer.is_open(checkout)
    key = buyer.key()
    answer = buyer.post_again(body, key=key)
    if answer.status != 202:
        return
    second = buyer.stream.journal.checkouts[answer.content["id"]]
    if second.id == checkout.id:
        return
    payable = buyer.payable(second)
    error = second.last["error"] or {}
    is_lost = was_open and not payable and error.get("code") == "out_of_stock"
    if is_lost and buyer.poll(checkout)["status"] == "cancelled":
        raise AssertionError("another buyer got the unit of the superseded checkout")
    if payable:
        buyer.stream.journal.reach("a changed address keeps the last unit")
        pays_and_confirms(buyer, second)


def signs_in_midway(buyer: Buyer, checkout: KnownCheckout) -> None:
    """A guest whose checkout holds the unit signs in, sees it in the cart, posts again and pays."""
    if buyer.account or not buyer.payable(checkout):
        return
    guest_id = user_id_in(buyer.token)
    buyer.sign_in()
    buyer.stream.journal.merged_guests.append(guest_id)
    checkout.token = buyer.token
    cart = buyer.cart()
    if not buyer.is_open(checkout):
        return
    if not cart["items"] or any(item["problem"] for item in cart["items"]):
        raise AssertionError(f"signed in with a held unit, and the cart shows {cart['items']}")
    answer = buyer.post_again(buyer.form(), key=buyer.key())
    if not buyer.is_open(checkout):
        return
    finds(answer, checkout)
    buyer.stream.journal.reach("a guest who holds the last unit signs in")
    pays_and_confirms(buyer, checkout)


# --- buying again before the money ----------------------------------------------------------------


def buys_again_after_a_failure(buyer: Buyer, checkout: KnownCheckout) -> None:
    """The bank authorises the failed payment after the second checkout is paid."""
    _buys_again(buyer, checkout, first="failed", late=buyer.rng.choice(("authorize", "capture")))


def buys_again_before_the_money(buyer: Buyer, checkout: KnownCheckout) -> None:
    """The bank captures the first payment when the second checkout can be paid."""
    _buys_again(buyer, checkout, first="created", late="capture", pays_second=False)


def _buys_again(
    buyer: Buyer, checkout: KnownCheckout, *, first: str, late: str, pays_second: bool = True
) -> None:
    if not buyer.payable(checkout):
        return
    attempt = buyer.attempt(checkout, outcome=first)
    if not attempt or not buyer.cancel(checkout):
        return
    answer = buyer.post_again(buyer.form(), key=buyer.key())
    if answer.status != 202:
        return
    second = buyer.stream.journal.checkouts[answer.content["id"]]
    if second.id == checkout.id or not buyer.payable(second):
        return
    if pays_second:
        buyer.confirm(second, buyer.pay(second))
        buyer.wait(second)
    with buyer.stream.events_arrive:
        came = buyer.stream.bank_call(attempt["id"], late)
    if came:
        paid = "paid" if pays_second else "open"
        buyer.stream.journal.reach(f"late money while the cart's second checkout is {paid}")
    buyer.wait(second)
    buyer.poll(checkout)


def confirms_then_cancels(buyer: Buyer, checkout: KnownCheckout) -> None:
    if not buyer.payable(checkout):
        return
    fields = buyer.pay(checkout, outcome=buyer.rng.choice(("captured", "authorized")))
    buyer.confirm(checkout, fields)
    if fields and buyer.cancel(checkout):
        raise AssertionError("cancelled after its browser returned with a signature")
    if fields:
        buyer.stream.journal.reach("a cancel after a verified return is refused")
    buyer.wait(checkout)


def confirms_then_changes_the_cart(buyer: Buyer, checkout: KnownCheckout) -> None:
    if not buyer.payable(checkout):
        return
    fields = buyer.pay(checkout, outcome=buyer.rng.choice(("captured", "authorized")))
    buyer.confirm(checkout, fields)
    buyer.fill([buyer.rng.choice(buyer.stream.variants)])
    answer = buyer.post_again(buyer.form(), key=buyer.key())
    if not fields:
        return
    if answer.status == 202:
        buyer.wait(checkout)
        if checkout.status != "paid":
            raise AssertionError(f"superseded after a verified return: {checkout.status}")
    else:
        refused(answer, "payment_in_progress")
        buyer.stream.journal.reach("a POST after a verified return is refused")
    buyer.wait(checkout)


def finds(answer: Answer, checkout: KnownCheckout) -> None:
    """:raises AssertionError: the answer is not this checkout."""
    if answer.status != 202 or answer.content["id"] != checkout.id:
        raise AssertionError(f"an equal POST was answered {answer.status} {answer.content}")


def refused(answer: Answer, code: str) -> None:
    """:raises AssertionError: the answer is not the refusal with this code."""
    if answer.code not in {code, "cart_changed"}:
        raise AssertionError(f"answered {answer.status} {answer.content}, not {code}")


PLANS: dict[Plan, int] = {
    pays_and_confirms: 40,
    pays_and_says_nothing: 16,
    fails_then_pays: 4,
    cancels: 7,
    abandons: 4,
    pays_after_cancelling: 3,
    pays_twice: 3,
    pays_another_amount: 3,
    changes_the_cart: 6,
    repeats_the_post: 4,
    uses_two_tabs: 4,
    changes_the_address: 4,
    signs_in_midway: 4,
    buys_again_after_a_failure: 5,
    buys_again_before_the_money: 4,
    confirms_then_cancels: 4,
    confirms_then_changes_the_cart: 4,
}
FOR_THE_LAST_UNIT = frozenset(
    {repeats_the_post, uses_two_tabs, changes_the_address, signs_in_midway}
)
