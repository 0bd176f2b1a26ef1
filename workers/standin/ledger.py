"""An append-only journal of the money that moved, independent of any status."""

import dataclasses
from collections import Counter, defaultdict
from typing import Any, Literal

from workers.standin.records import Order, Payment

Kind = Literal["captured", "refunded", "released", "charged_back"]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """`paise` that moved at `at`: to the shop (captured), or back to the buyer (other kinds)."""

    at: float
    kind: Kind
    payment_id: str
    order_id: str
    paise: int


class Ledger:
    """
    All money that moved, in paise.

    `released` is money that was authorised but never captured. A refund is entered when it is
    processed: pending and failed refunds have moved nothing.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def enter(self, entry: Entry) -> None:
        self.entries.append(entry)

    def totals(self) -> dict[str, int]:
        return _sums(self.entries)

    def by_payment(self) -> dict[str, dict[str, int]]:
        return self._grouped("payment_id")

    def by_order(self) -> dict[str, dict[str, int]]:
        return self._grouped("order_id")

    def _grouped(self, key: str) -> dict[str, dict[str, int]]:
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            groups[getattr(entry, key)].append(entry)
        return {name: _sums(entries) for name, entries in groups.items()}


NOTHING: dict[str, int] = {
    "captured_paise": 0,
    "refunded_paise": 0,
    "released_paise": 0,
    "charged_back_paise": 0,
    "net_paise": 0,
}


def _sums(entries: list[Entry]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for entry in entries:
        sums[entry.kind] += entry.paise
    net_paise = sums["captured"] - sums["refunded"] - sums["charged_back"]
    return {
        **NOTHING,
        **{f"{kind}_paise": paise for kind, paise in sums.items()},
        "net_paise": net_paise,
    }


def report(ledger: Ledger, orders: list[Order], payments: list[Payment]) -> dict[str, Any]:
    """The answer of `GET /_standin/ledger`: the sums of the journal, and the records' statuses."""
    moved_by_payment, moved_by_order = ledger.by_payment(), ledger.by_order()
    receipts = Counter(order.receipt for order in orders if order.receipt is not None)
    return {
        "totals": {**ledger.totals(), "orders": len(orders), "payments": len(payments)},
        "orders": {
            order.id: {
                "receipt": order.receipt,
                "status": order.status,
                "currency": order.currency,
                "amount_paise": order.amount_paise,
                **moved_by_order.get(order.id, NOTHING),
            }
            for order in orders
        },
        "payments": {
            payment.id: {
                "order_id": payment.order.id,
                "status": payment.status,
                "currency": payment.currency,
                "amount_paise": payment.amount_paise,
                **moved_by_payment.get(payment.id, NOTHING),
                "refund_pending_paise": sum(
                    refund.amount_paise for refund in payment.refunds if refund.status == "pending"
                ),
                "refunds": len(payment.refunds),
            }
            for payment in payments
        },
        "receipts": dict(receipts),
    }
