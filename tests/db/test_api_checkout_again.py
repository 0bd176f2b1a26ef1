"""Repeated POSTs: with the same key, another key, no key, another cart."""

import pytest

from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.start import IdempotencyKey
from shop.checkout.states import State
from shop.payments.ledger import GatewayOrder
from tests.support.api import Caller, granted, job_of, ordered, payable, refused
from tests.support.shop import ADDRESS, make_variant, new_key, stock_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def buyer() -> Caller:
    """With one mug in the cart."""
    buyer = Caller.guest()
    buyer.add(make_variant())
    return buyer


def states() -> list[str]:
    return list(CheckoutJob.objects.order_by("created_at").values_list("state", flat=True))


def test_the_same_key_and_body_always_give_the_same_checkout(buyer):
    key = new_key()
    first = buyer.post_checkout(key=key)

    for _ in range(20):
        again = buyer.post_checkout(key=key)
        assert granted(again, 202)["id"] == granted(first, 202)["id"]
        assert again["Idempotent-Replayed"] == "true"
        assert again["Location"] == first["Location"]

    assert CheckoutJob.objects.count() == IdempotencyKey.objects.count() == 1


def test_an_equivalent_body_is_the_same_body(buyer):
    key = new_key()
    granted(buyer.post_checkout(key=key), 202)

    again = buyer.post_checkout(
        key=key, shipping_address=ADDRESS | {"phone": "98450 12345"}, cart_id=None
    )

    assert again["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "other",
    [
        {"shipping_address": ADDRESS | {"name": "Ravi Rao"}},
        {"billing_address": ADDRESS | {"name": "Ravi Rao"}},
        {"cart_version": 2},
    ],
)
def test_the_same_key_with_another_body_is_refused(buyer, other):
    key = new_key()
    granted(buyer.post_checkout(key=key), 202)

    refused(buyer.post_checkout(key=key, **other), 422, "idempotency_key_reused")

    assert states() == [State.QUEUED]


def test_the_same_key_still_gives_its_checkout_when_the_cart_has_changed(buyer):
    key = new_key()
    first = granted(buyer.post_checkout(key=key), 202)
    buyer.add(make_variant())

    assert granted(buyer.post_checkout(key=key), 202)["id"] == first["id"]
    assert CheckoutJob.objects.count() == 1


def test_the_same_key_still_gives_its_checkout_when_that_has_ended(buyer):
    key = new_key()
    first = granted(buyer.post_checkout(key=key), 202)
    buyer.post(first["links"]["cancel"])

    again = granted(buyer.post_checkout(key=key), 202)

    assert (again["id"], again["status"]) == (first["id"], "cancelled")


def test_a_new_key_finds_the_open_checkout_of_the_same_cart(buyer):
    first = buyer.post_checkout(key=new_key())

    second = buyer.post_checkout(key=new_key())

    assert granted(second, 202)["id"] == granted(first, 202)["id"]
    assert "Idempotent-Replayed" not in second


def test_two_buyers_may_use_the_same_key(buyer):
    other = Caller.guest()
    other.add(make_variant())

    first, second = buyer.post_checkout(key="1"), other.post_checkout(key="1")

    assert granted(first, 202)["id"] != granted(second, 202)["id"]
    assert "Idempotent-Replayed" not in second


def test_a_refused_post_does_not_consume_its_key(buyer):
    key = new_key()
    refused(buyer.post_checkout(key=key, cart_version=999), 409, "cart_changed")

    granted(buyer.post_checkout(key=key), 202)


def test_without_a_key_an_open_checkout_of_the_same_cart_is_found(buyer):
    first = granted(buyer.post_checkout(), 202)

    assert granted(buyer.post_checkout(), 202)["id"] == first["id"]
    assert states() == [State.QUEUED]


def test_a_checkout_that_has_ended_is_followed_by_a_new_one(buyer):
    first = granted(buyer.post_checkout(), 202)
    buyer.post(first["links"]["cancel"])

    assert granted(buyer.post_checkout(), 202)["id"] != first["id"]
    assert states() == [State.CANCELLED, State.QUEUED]


def test_a_newer_cart_supersedes_the_open_checkout_and_takes_over_its_units(buyer):
    mug = Variant.objects.get()
    first = granted(buyer.post_checkout(), 202)
    ordered(first)
    assert stock_of(mug) == (10, 1)
    buyer.add(mug)

    second = granted(buyer.post_checkout(), 202)

    assert states() == [State.CANCELLED, State.QUEUED]
    assert stock_of(mug) == (10, 1)
    assert ordered(second).state == State.ORDERED
    assert stock_of(mug) == (10, 2)
    assert second["amount_paise"] == 2 * first["amount_paise"]
    superseded = Transition.objects.get(job_id=first["id"], new=State.CANCELLED)
    assert superseded.because.startswith("superseded")
    assert buyer.status(first)["poll"] == {"after_ms": 0, "done": True}


def test_units_that_a_newer_cart_does_not_need_are_released(buyer):
    mug = Variant.objects.get()
    ordered(granted(buyer.post_checkout(), 202))
    granted(buyer.delete("/api/cart/"))
    buyer.add(make_variant())

    granted(buyer.post_checkout(), 202)

    assert states() == [State.CANCELLED, State.QUEUED]
    assert stock_of(mug) == (10, 0)


def test_another_address_for_the_same_cart_supersedes_the_open_checkout(buyer):
    granted(buyer.post_checkout(), 202)

    checkout = granted(buyer.post_checkout(shipping_address=ADDRESS | {"name": "Ravi Rao"}), 202)

    assert states() == [State.CANCELLED, State.QUEUED]
    assert job_of(checkout).shipping_address["name"] == "Ravi Rao"


def test_a_superseded_checkout_is_no_longer_payable(buyer, gateway):
    first = granted(buyer.post_checkout(), 202)
    payable(first, gateway)
    buyer.add(make_variant())

    granted(buyer.post_checkout(), 202)

    assert buyer.status(first)["status"] == "cancelled"
    assert GatewayOrder.objects.count() == 1  # kept: late money must find its order


@pytest.mark.parametrize("key", ["k" * 255, "a b", "~", '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
def test_a_printable_key_of_up_to_255_characters_is_valid(buyer, key):
    granted(buyer.post_checkout(key=key), 202)
    assert IdempotencyKey.objects.get().key == key


@pytest.mark.parametrize("key", ["k" * 256, "a\x00b", "a\tb", "clé", "\x7f", " "])
def test_any_other_key_is_refused(buyer, key):
    refused(buyer.post_checkout(key=key), 400, "idempotency_key_invalid")
    assert not CheckoutJob.objects.exists()
