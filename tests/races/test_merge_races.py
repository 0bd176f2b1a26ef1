"""A guest's token used by several requests at once, while the guest becomes or joins an account."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.http import HttpResponse

from shop.accounts import User
from shop.api.throttling import Throttle
from shop.carts import Cart, CartItem
from shop.checkout.jobs import CheckoutJob
from tests.support.api import PASSWORD, Caller, granted
from tests.support.buyers import until
from tests.support.shop import make_variant
from tests.support.threads import all_at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]

ASHA = {"email": "asha@example.com", "password": PASSWORD}
RAVI = {"email": "ravi@example.com", "password": PASSWORD}
REGISTER, SIGN_IN = "/api/auth/register/", "/api/auth/token/"
ROUNDS = 8


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    for scope in Throttle.THROTTLE_RATES:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "100000/day")


def on_its_own(work: Callable[[], HttpResponse]) -> HttpResponse:
    try:
        return work()
    finally:
        connection.close()


def waiting_transactions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("open_checkout", [False, True])
def test_a_post_during_a_merge_leaves_no_checkout_with_the_guest(open_checkout):
    """The merge has moved the guest's checkouts and waits for a cart, when the guest posts."""
    asha, guest, mug = Caller.account(ASHA["email"]), Caller.guest(), make_variant()
    asha.cart()
    if open_checkout:
        guest.check_out(make_variant())
    guest.add(mug)

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            Cart.objects.select_for_update(no_key=True).get(owner_id=guest.user_id)
            merge = pool.submit(on_its_own, lambda: guest.post(SIGN_IN, ASHA))
            until(lambda: waiting_transactions() == 1)
            post = pool.submit(on_its_own, guest.post_checkout)
            until(lambda: post.done() or waiting_transactions() == 2)
        granted(merge.result(timeout=20))

    assert post.result(timeout=20).status_code == 401
    assert set(CheckoutJob.objects.values_list("owner_id", flat=True)) <= {asha.user_id}


def test_posts_and_a_merge_at_once_leave_nothing_with_the_guest():
    for _ in range(ROUNDS):
        asha, guest, mug = Caller.account(), Caller.guest(), make_variant()
        guest.add(mug)
        email = User.objects.get(pk=asha.user_id).email

        answers = all_at_once(
            guest.post_checkout,
            lambda: guest.post(SIGN_IN, {"email": email, "password": PASSWORD}),  # noqa: B023
            guest.post_checkout,
        )

        assert answers[1].status_code == 200
        assert {answers[0].status_code, answers[2].status_code} <= {202, 401}
        assert not CheckoutJob.objects.filter(owner_id=guest.user_id).exists()


def test_concurrent_register_and_sign_in_with_one_guest_token():
    asha, mug = Caller.account(ASHA["email"]), make_variant(on_hand=100)
    for n in range(ROUNDS):
        guest = Caller.guest()
        checkout = guest.check_out(mug, quantity=3)
        before = sum(CartItem.objects.values_list("quantity", flat=True))
        new = {"email": f"ravi{n}@example.com", "password": PASSWORD}

        registered, signed_in = all_at_once(
            lambda: guest.post(REGISTER, new),  # noqa: B023
            lambda: guest.post(SIGN_IN, ASHA),  # noqa: B023
        )

        ravi = Caller(granted(registered, 201)["access"])
        granted(signed_in)
        assert sum(CartItem.objects.values_list("quantity", flat=True)) == before
        owner = CheckoutJob.objects.get(pk=checkout["id"]).owner_id
        assert owner in {ravi.user_id, asha.user_id}
        assert (ravi.cart()["units_count"] == 3) == (owner == ravi.user_id)
        asha.delete("/api/cart/")


def test_two_concurrent_registrations_with_one_guest_token():
    mug = make_variant(on_hand=100)
    for n in range(ROUNDS):
        guest = Caller.guest()
        guest.add(mug, quantity=3)
        names = [f"{name}{n}@example.com" for name in ("asha", "ravi")]

        answers = all_at_once(
            *(
                lambda it=it: guest.post(REGISTER, {"email": it, "password": PASSWORD})  # noqa: B023
                for it in names
            )
        )

        accounts = [Caller(granted(answer, 201)["access"]) for answer in answers]
        assert sorted(it.cart()["units_count"] for it in accounts) == [0, 3]


def test_a_cart_under_constant_change_is_posted_or_refused():
    buyer, mug = Caller.guest(), make_variant(on_hand=1000)
    item = buyer.add(mug)["items"][0]["id"]
    posted = threading.Event()

    def edit() -> Counter[int]:
        codes: Counter[int] = Counter()
        while not posted.is_set():
            wish = {"quantity": random.randint(1, 9)}
            codes[buyer.patch(f"/api/cart/items/{item}/", wish).status_code] += 1
        return codes

    def post() -> Counter[int]:
        codes = Counter(buyer.post_checkout().status_code for _ in range(60))
        posted.set()
        return codes

    *edited, answers = all_at_once(edit, edit, post)

    assert set(answers) <= {202, 409}
    assert all(set(codes) == {200} for codes in edited)
