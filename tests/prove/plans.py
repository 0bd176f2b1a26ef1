"""What a buyer does after posting the cart, and how often each plan is drawn."""

from __future__ import annotations

from tests.prove.client import Answer
from tests.prove.stream import Buyer, Known, Plan, user_id_in

ANOTHER_STREET = "7 Brigade Road"


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
        with buyer.stream.events_arrive:  # nothing replaces a lost event about this payment
            buyer.pay(known, force=True)
        buyer.confirm(known, fields)
        buyer.wait(known)


def pays_another_amount(buyer: Buyer, known: Known) -> None:
    """The payment goes to review. Until staff decide, the cart cannot be posted again."""
    if not buyer.payable(known):
        return
    buyer.confirm(known, buyer.pay(known, amount=known.last["amount_paise"] - 100))
    if buyer.wait(known, "in_review"):
        answer = buyer.post_again(buyer.form(), key=buyer.key())
        if buyer.look(known)["status"] == "in_review":
            refused(answer, "payment_in_progress")
            buyer.stream.journal.reach("a POST beside a review is refused")


def changes_the_cart(buyer: Buyer, known: Known) -> None:
    """A second post, with another line, supersedes the first checkout."""
    if buyer.rng.random() < 0.5:
        buyer.payable(known)
    buyer.fill([buyer.rng.choice(buyer.stream.variants)])
    pays_and_confirms(buyer, buyer.post())


# --- the last unit --------------------------------------------------------------------------------


def repeats_the_post(buyer: Buyer, known: Known) -> None:
    """Without a key, with the same and with another key: each finds the open checkout."""
    if not buyer.payable(known):
        return
    for key in ("", known.key, buyer.key()):
        answer = buyer.post_again(known.body, key=key)
        if not buyer.is_open(known):
            return
        finds(answer, known)
        buyer.stream.journal.reach("a repeated POST finds the checkout of the last unit")
    pays_and_confirms(buyer, known)


def uses_two_tabs(buyer: Buyer, known: Known) -> None:
    """The second tab reloads the cart and posts what it shows."""
    if not buyer.payable(known):
        return
    body = buyer.form()
    problems = [item["problem"] for item in buyer.cart()["items"]]
    answer = buyer.post_again(body, key=buyer.key())
    if not buyer.is_open(known):
        return
    if any(problems):
        raise AssertionError(f"the buyer's own unit is shown as {problems}")
    finds(answer, known)
    buyer.stream.journal.reach("a second tab finds the checkout of the last unit")
    pays_and_confirms(buyer, known)


def changes_the_address(buyer: Buyer, known: Known) -> None:
    """The second checkout supersedes the first and takes over its unit."""
    if not buyer.payable(known):
        return
    body = buyer.form()
    body["shipping_address"] = body["shipping_address"] | {"line1": ANOTHER_STREET}
    was_open = buyer.is_open(known)
    key = buyer.key()
    answer = buyer.post_again(body, key=key)
    if answer.status != 202:
        return
    second = buyer.stream.journal.checkouts[answer.content["id"]]
    if second.id == known.id:
        return
    payable = buyer.payable(second)
    error = second.last["error"] or {}
    is_lost = was_open and not payable and error.get("code") == "out_of_stock"
    if is_lost and buyer.look(known)["status"] == "cancelled":
        raise AssertionError("another buyer got the unit of the superseded checkout")
    if payable:
        buyer.stream.journal.reach("a changed address keeps the last unit")
        pays_and_confirms(buyer, second)


def signs_in_midway(buyer: Buyer, known: Known) -> None:
    """A guest whose checkout holds the unit signs in, sees it in the cart, posts again and pays."""
    if buyer.account or not buyer.payable(known):
        return
    guest_id = user_id_in(buyer.token)
    buyer.sign_in()
    buyer.stream.journal.merged_guests.append(guest_id)
    known.token = buyer.token
    cart = buyer.cart()
    if not buyer.is_open(known):
        return
    if not cart["items"] or any(item["problem"] for item in cart["items"]):
        raise AssertionError(f"signed in with a held unit, and the cart shows {cart['items']}")
    answer = buyer.post_again(buyer.form(), key=buyer.key())
    if not buyer.is_open(known):
        return
    finds(answer, known)
    buyer.stream.journal.reach("a guest who holds the last unit signs in")
    pays_and_confirms(buyer, known)


# --- buying again before the money ----------------------------------------------------------------


def buys_again_after_a_failure(buyer: Buyer, known: Known) -> None:
    """The bank authorises the failed payment after the second checkout is paid."""
    _buys_again(buyer, known, first="failed", late=buyer.rng.choice(("authorize", "capture")))


def buys_again_before_the_money(buyer: Buyer, known: Known) -> None:
    """The bank captures the first payment when the second checkout can be paid."""
    _buys_again(buyer, known, first="created", late="capture", pays_second=False)


def _buys_again(
    buyer: Buyer, known: Known, *, first: str, late: str, pays_second: bool = True
) -> None:
    if not buyer.payable(known):
        return
    attempt = buyer.attempt(known, outcome=first)
    if not attempt or not buyer.cancel(known):
        return
    answer = buyer.post_again(buyer.form(), key=buyer.key())
    if answer.status != 202:
        return
    second = buyer.stream.journal.checkouts[answer.content["id"]]
    if second.id == known.id or not buyer.payable(second):
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
    buyer.look(known)


def confirms_then_cancels(buyer: Buyer, known: Known) -> None:
    if not buyer.payable(known):
        return
    fields = buyer.pay(known, outcome=buyer.rng.choice(("captured", "authorized")))
    buyer.confirm(known, fields)
    if fields and buyer.cancel(known):
        raise AssertionError("cancelled after its browser returned with a signature")
    if fields:
        buyer.stream.journal.reach("a cancel after a verified return is refused")
    buyer.wait(known)


def confirms_then_changes_the_cart(buyer: Buyer, known: Known) -> None:
    if not buyer.payable(known):
        return
    fields = buyer.pay(known, outcome=buyer.rng.choice(("captured", "authorized")))
    buyer.confirm(known, fields)
    buyer.fill([buyer.rng.choice(buyer.stream.variants)])
    answer = buyer.post_again(buyer.form(), key=buyer.key())
    if not fields:
        return
    if answer.status == 202:
        buyer.wait(known)
        if known.status != "paid":
            raise AssertionError(f"superseded after a verified return: {known.status}")
    else:
        refused(answer, "payment_in_progress")
        buyer.stream.journal.reach("a POST after a verified return is refused")
    buyer.wait(known)


def finds(answer: Answer, known: Known) -> None:
    """:raises AssertionError: the answer is not this checkout."""
    if answer.status != 202 or answer.content["id"] != known.id:
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
