"""
Money in the real processes: whatever happens to webhooks, every payment gives its order, and the
shop's tables agree with Razorpay's ledger to the paisa.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.buyers import Buyer, Json, together, until
from tests.support.running_shop import MUG, RunningShop

CLIENTS = 12  # concurrent buyers
MAX_WAIT_SECONDS = 240  # for a busy machine; usually a fraction

BOOKS = """
    SELECT row.gateway_order_id, job.state, job.amount_paise, orders.stock_state,
        (SELECT count(*) FROM shop_transition WHERE job_id = job.id AND new = 'paid'),
        array_agg(payment.amount_paise) FILTER (WHERE payment.status = 'captured'),
        array_agg(payment.captured_via),
        (SELECT count(*) FROM shop_case WHERE order_id = orders.id),
        (SELECT count(*) FROM shop_gatewayorder other WHERE other.order_id = orders.id)
    FROM shop_checkoutjob job
    JOIN shop_order orders ON orders.id = job.order_id
    JOIN shop_gatewayorder row ON row.order_id = orders.id
    LEFT JOIN shop_payment payment ON payment.gateway_order_id = row.id
    WHERE job.id::text = ANY(%s)
    GROUP BY row.id, job.id, orders.id
"""


def test_a_thousand_pay_and_every_webhook_is_lost(running_shop: RunningShop):
    """A quarter of the browsers return with a signature; polls find the other payments."""
    crowd = Crowd(running_shop, 1000)

    with webhooks(running_shop, drop_all=True):
        crowd.pay(coming_back=250)
        crowd.wait_until_all_are_paid()

    assert crowd.compare_the_books() == {"fetch": 1000}


def test_every_webhook_comes_three_times_in_any_order_after_eight_seconds(
    running_shop: RunningShop,
):
    crowd = Crowd(running_shop, 60)

    with webhooks(running_shop, copies=3, order="shuffled", hold_seconds=8):
        crowd.pay()
        crowd.wait_until_all_are_paid()
        until(lambda: crowd.deliveries() == 60 * 3 * 3, seconds=MAX_WAIT_SECONDS)

    assert crowd.compare_the_books()["webhook"] > 0


@contextmanager
def webhooks(running_shop: RunningShop, **script: Any) -> Iterator[None]:
    """Apply this script to each webhook sent inside the block."""
    running_shop.standin("PATCH", "script", script)
    try:
        yield
    finally:
        running_shop.standin("DELETE", "script")


class Crowd:
    """`count` buyers with a mug each, all of whom can pay."""

    def __init__(self, running_shop: RunningShop, count: int) -> None:
        self.running_shop = running_shop
        self.on_hand = self._on_hand()
        self.mug = Buyer(running_shop.stack.base_url).find(MUG)
        arrived = together(self._arrive, range(count), threads=CLIENTS)
        self.buyers = [buyer for buyer, _ in arrived]
        self.checkouts = [checkout for _, checkout in arrived]
        self.ids = [checkout["id"] for checkout in self.checkouts]
        until(lambda: len(self._payable()) == count, seconds=MAX_WAIT_SECONDS)
        self.order_ids = self._payable()

    def _arrive(self, _: int) -> tuple[Buyer, Json]:
        buyer = Buyer.arrive(self.running_shop.stack.base_url, sku=MUG, found=self.mug)
        checkout = buyer.post()
        buyer.http.close()  # not a thousand open connections
        return buyer, checkout

    def _payable(self) -> dict[str, str]:
        """{checkout id: payable Razorpay order id}."""
        return dict(self.running_shop.payable_orders(self.checkouts))

    def pay(self, *, coming_back: int = 0) -> None:
        """All pay. The browsers of the first `coming_back` post the result of the form."""
        pairs = list(enumerate(zip(self.buyers, self.checkouts, strict=True)))
        together(
            lambda pair: self._pay(*pair[1], comes_back=pair[0] < coming_back),
            pairs,
            threads=CLIENTS,
        )

    def _pay(self, buyer: Buyer, checkout: Json, *, comes_back: bool) -> None:
        payment = {"order_id": self.order_ids[checkout["id"]], "outcome": "captured"}
        told = self.running_shop.standin("POST", "payments", payment)["checkout"]
        if comes_back:
            buyer.call("POST", checkout["links"]["confirm"], told, expect=202)

    def wait_until_all_are_paid(self) -> None:
        def waiting() -> list[tuple[Any, ...]]:
            return self.running_shop.rows(
                "SELECT id FROM shop_checkoutjob WHERE id::text = ANY(%s) AND state <> 'paid'",
                self.ids,
            )

        until(lambda: not waiting(), seconds=MAX_WAIT_SECONDS)

    def deliveries(self) -> int:
        """The number of webhook deliveries about these orders, repeats included."""
        ours = set(self.order_ids.values())
        return sum(
            len(delivery["attempts"])
            for delivery in self.running_shop.standin("GET", "deliveries?state=delivered")
            if json.loads(delivery["body"])["payload"]["payment"]["entity"]["order_id"] in ours
        )

    def compare_the_books(self) -> dict[str, int]:
        """
        Compare status, tables and Razorpay's ledger: each order is paid once, in full.

        Returns how many payments were first reported in which way.
        """
        pairs = list(zip(self.buyers, self.checkouts, strict=True))
        shown = together(lambda pair: pair[0].status(pair[1]), pairs, threads=CLIENTS)
        asked = {self.order_ids[status["id"]]: status["amount_paise"] for status in shown}
        assert {status["status"] for status in shown} == {"paid"}

        ledger = self.running_shop.standin("GET", "ledger")
        moved = {order_id: ledger["orders"][order_id] for order_id in asked}
        assert {order: row["captured_paise"] for order, row in moved.items()} == asked
        assert {order: row["net_paise"] for order, row in moved.items()} == asked
        assert {ledger["receipts"][row["receipt"]] for row in moved.values()} == {1}

        books = self.running_shop.rows(BOOKS, self.ids)
        told_by = Counter(via for row in books for via in row[6])
        assert sorted((*row[:6], *row[7:]) for row in books) == sorted(
            (order_id, "paid", paise, "sold", 1, [paise], 0, 1) for order_id, paise in asked.items()
        )
        assert self._on_hand() == self.on_hand - len(self.ids)
        return told_by

    def _on_hand(self) -> int:
        [(on_hand,)] = self.running_shop.rows(
            "SELECT on_hand FROM shop_stocklevel stock JOIN shop_variant variant"
            " ON variant.id = stock.variant_id WHERE sku = %s",
            MUG,
        )
        return on_hand
