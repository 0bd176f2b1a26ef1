"""The settings of the stand-in that can change while it runs."""

import dataclasses
from typing import Literal

from workers.standin.json_fields import JsonFields

DAY_SECONDS = 24 * 60 * 60


@dataclasses.dataclass(slots=True)
class Behaviour(JsonFields):
    """
    How the stand-in behaves. `PATCH /_standin/settings` changes it, a reset restores it.

    Times are in seconds. Those marked * pass `time_scale` times faster. README.md describes each.
    """

    latency_ms: float = 0
    time_scale: float = 1

    # Lists show a new entry only after this time. Reads by id always show it.
    receipt_lag_seconds: float = 8
    list_lag_seconds: float = 120
    order_payments_lag_seconds: float = 0
    order_state_lag_seconds: float = 0

    receipt_mode: Literal["accept", "reject", "reject_with_id"] = "accept"
    unique_receipt: bool = False
    wording: Literal["new", "old"] = "new"
    maximum_amount_paise: int = 500_000_000

    auto_capture: bool = True
    second_payment: Literal["refund", "keep"] = "refund"
    created_timeout_seconds: float = 600  # *
    authorized_expiry_seconds: float = 3 * DAY_SECONDS  # *

    refund_status: Literal["processed", "pending", "failed"] = "processed"
    refund_settle_seconds: float | None = None  # *
    instant_refunds: bool = False
    void_authorized: bool = False
    balance_paise: int | None = None

    webhook_spread_seconds: float = 0.85  # *
    webhook_timeout_seconds: float = 5
    webhook_escaped: bool = False
    webhook_sorted_keys: bool = False
