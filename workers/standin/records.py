"""The records of the stand-in: orders, payments, refunds, disputes. Amounts are in paise."""

import dataclasses
from typing import Any, Literal

PaymentStatus = Literal["created", "authorized", "captured", "refunded", "failed"]
RefundStatus = Literal["pending", "processed", "failed"]
Notes = dict[str, Any]


@dataclasses.dataclass(slots=True)
class CaptureRule:
    """When authorised payments of an order are captured. None: as the settings say."""

    automatic: bool | None = None
    automatic_expiry_seconds: float | None = None
    manual_expiry_seconds: float | None = None


@dataclasses.dataclass(slots=True)
class OrderRequest:
    """The validated body of an order."""

    amount_paise: int
    currency: str
    receipt: str | None
    notes: Notes
    capture: CaptureRule
    partial_payment: bool
    unique_receipt: bool


@dataclasses.dataclass(slots=True)
class Order:
    id: str
    amount_paise: int
    currency: str
    receipt: str | None
    notes: Notes
    capture: CaptureRule
    partial_payment: bool
    created_at: float
    status: Literal["created", "attempted", "paid"] = "created"
    amount_paid_paise: int = 0
    attempts: int = 0
    paid_at: float = 0
    payments: list["Payment"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a payment failed, in Razorpay's words."""

    description: str
    reason: str
    code: str = "BAD_REQUEST_ERROR"
    source: str = "customer"
    step: str = "payment_authentication"


@dataclasses.dataclass(slots=True)
class Payment:
    id: str
    order: Order
    amount_paise: int
    currency: str
    created_at: float
    method: str
    details: dict[str, Any]  # the fields of its method: card, vpa, bank, wallet
    acquirer_data: dict[str, Any]
    email: str
    contact: str
    notes: Notes
    status: PaymentStatus = "created"
    captured: bool = False
    captured_at: float = 0
    refunded_paise: int = 0  # pending and processed refunds, without failed ones
    fee_paise: int | None = None
    tax_paise: int | None = None
    failure: Failure | None = None
    refunds: list["Refund"] = dataclasses.field(default_factory=list)
    disputes: list["Dispute"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Refund:
    id: str
    payment: Payment
    amount_paise: int
    created_at: float
    receipt: str | None
    notes: Notes
    speed_requested: str
    speed_processed: str
    status: RefundStatus
    acquirer_data: dict[str, Any]
    is_release: bool = False  # of money that was authorised but never captured


@dataclasses.dataclass(slots=True)
class Dispute:
    id: str
    payment: Payment
    amount_paise: int
    created_at: float
    reason_code: str
    phase: str
    status: Literal["open", "under_review", "won", "lost", "closed"] = "open"
