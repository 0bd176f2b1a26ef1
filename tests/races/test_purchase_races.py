"""Late money and a concurrent POST of the same buyer buy the goods once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from shop.checkout import purchase, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import CannotCancel, CartEmpty
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import books
from shop.payments.ledger import GatewayOrder
from shop.payments.refunds import Refund
from tests.support.buyers import until
from tests.support.events import deliver
from tests.support.lock_order import somebody_waits
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_payable,
    make_variant,
    post_checkout,
    run,
    stock_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


@pytest.fixture
def mug():
    return make_variant(on_hand=3)


@pytest.fixture
def ended(mug, gateway, standin):
    """A cancelled checkout of one mug, with a webhook that it was paid."""
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, mug, now=NOW)
    job = make_payable(post_checkout(buyer, now=NOW), gateway, now=NOW)
    start.cancel(owner_id=buyer.pk, job_id=job.pk, now=NOW)
    remote = GatewayOrder.objects.get(order=job.order)
    deliver(standin.pay(remote.gateway_order_id), now=LATER)
    return job


def settle() -> None:
    run(ReconcileWebhook(), now=LATER)


def elsewhere(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Future[Any]:
    """Start `work` on its own connection. Returns once it waits for a row that we hold."""

    def on_its_own() -> Any:
        try:
            return work()
        finally:
            connection.close()

    begun = pool.submit(on_its_own)
    until(lambda: somebody_waits() or begun.done())
    return begun


def meanwhile(monkeypatch, name: str, work: Callable[[], Any], *, module: Any) -> list[Future[Any]]:
    """Start `work` once, after `module.name` returns and before its transaction ends."""
    true = getattr(module, name)
    pool = ThreadPoolExecutor(1)
    begun: list[Future[Any]] = []

    def and_meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, name, true)
        result = true(*args, **kwargs)
        begun.append(elsewhere(pool, work))
        return result

    monkeypatch.setattr(module, name, and_meanwhile)
    return begun


def states() -> list[str]:
    return list(CheckoutJob.objects.order_by("created_at").values_list("state", flat=True))


def test_a_post_that_comes_while_late_money_is_served_finds_its_cart_bought(
    ended, mug, monkeypatch
):
    begun = meanwhile(
        monkeypatch, "allocate", lambda: post_checkout(ended.owner, now=LATER), module=purchase
    )

    settle()

    with pytest.raises(CartEmpty):
        begun[0].result(timeout=20)
    assert states() == [State.PAID]
    assert stock_of(mug) == (2, 0)


def test_a_checkout_that_is_made_while_late_money_is_settled_makes_way(ended, mug, monkeypatch):
    begun = meanwhile(monkeypatch, "_find_or_insert", settle, module=start)

    post_checkout(ended.owner, now=LATER)

    begun[0].result(timeout=20)
    assert states() == [State.PAID, State.CANCELLED]
    assert stock_of(mug) == (2, 0)
    assert not Refund.objects.exists()
    assert not list(books.differences())


def test_late_money_of_two_checkouts_settled_at_once_buys_once(
    ended, mug, gateway, standin, monkeypatch
):
    second = make_payable(post_checkout(ended.owner, now=NOW), gateway, now=NOW)
    start.cancel(owner_id=ended.owner_id, job_id=second.pk, now=NOW)
    remote = GatewayOrder.objects.get(order=second.order)
    paid = standin.pay(remote.gateway_order_id)

    def settle_the_other() -> None:
        deliver(paid, now=LATER)
        settle()

    begun = meanwhile(monkeypatch, "allocate", settle_the_other, module=purchase)
    settle()
    begun[0].result(timeout=20)

    assert sorted(states()) == [State.PAID, State.REFUNDING]
    assert stock_of(mug) == (2, 0)
    assert not list(books.differences())


def test_a_cancellation_that_waits_for_the_money_is_refused(mug, gateway, standin, monkeypatch):
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, mug, now=NOW)
    job = make_payable(post_checkout(buyer, now=NOW), gateway, now=NOW)
    remote = GatewayOrder.objects.get(order=job.order)
    payment = standin.pay(remote.gateway_order_id)
    deliver(payment, now=LATER, status="authorized", captured=False)
    begun = meanwhile(
        monkeypatch,
        "allocate",
        lambda: start.cancel(owner_id=buyer.pk, job_id=job.pk, now=LATER),
        module=purchase,
    )

    settle()

    with pytest.raises(CannotCancel):
        begun[0].result(timeout=20)
    assert states() == [State.AWAITING_PAYMENT]
