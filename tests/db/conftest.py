from __future__ import annotations

from datetime import datetime

import pytest
from pytest_django.fixtures import Settings

from shop.accounts import User
from shop.api.throttling import Throttle
from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob
from shop.payments.razorpay.client import RazorpayGateway
from tests.support.shop import fill_cart, make_buyer, make_payable, make_variant, post_checkout
from tests.support.standin import StandIn


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rate limits that no test reaches: for tests of many requests."""
    for scope in Throttle.THROTTLE_RATES:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "100000/day")


@pytest.fixture
def mug() -> Variant:
    """Three of them."""
    return make_variant(on_hand=3)


@pytest.fixture
def last(mug: Variant) -> Variant:
    """The mug, one of it left."""
    mug.stock.on_hand = 1
    mug.stock.save()
    return mug


@pytest.fixture
def buyer(mug: Variant, now: datetime) -> User:
    """A buyer with one mug in the cart."""
    buyer = make_buyer(now=now)
    fill_cart(buyer, mug, now=now)
    return buyer


@pytest.fixture
def first(buyer: User, gateway: RazorpayGateway, now: datetime) -> CheckoutJob:
    """The buyer's checkout, payable."""
    return make_payable(post_checkout(buyer, now=now), gateway, now=now)


@pytest.fixture
def manual_capture(settings: Settings, standin: StandIn, gateway: RazorpayGateway) -> None:
    """The shop captures authorised payments itself."""
    settings.RAZORPAY_CAPTURE = "manual"
    standin.settings(auto_capture=False)
    gateway._capture = "manual"
