"""What can happen to a checkout. Data and pure functions; nothing here touches the database."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    VALIDATED = "validated"
    ORDERED = "ordered"
    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    IN_REVIEW = "in_review"


# Money may come when nobody expects it: after we gave up, after the buyer did, or for a Razorpay
# order that we are still looking for. Only what the ledger says makes these moves.
LATE_MONEY = frozenset({State.PAID, State.REFUNDING, State.IN_REVIEW})

# A late authorisation that can be served opens its checkout again: the units are held while the
# money is captured.
REOPENED = frozenset({State.AWAITING_PAYMENT})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.VALIDATED, State.FAILED, State.CANCELLED}),
    State.VALIDATED: frozenset({State.ORDERED, State.FAILED, State.CANCELLED}),
    State.ORDERED: frozenset({State.AWAITING_PAYMENT, State.FAILED, State.CANCELLED}) | LATE_MONEY,
    State.AWAITING_PAYMENT: frozenset({State.EXPIRED, State.CANCELLED}) | LATE_MONEY,
    State.PAID: frozenset(),  # money is in: a refund lives on its own row
    State.FAILED: LATE_MONEY | REOPENED,
    State.CANCELLED: LATE_MONEY | REOPENED,
    State.EXPIRED: LATE_MONEY | REOPENED,
    State.REFUNDING: frozenset({State.REFUNDED, State.IN_REVIEW}),
    State.REFUNDED: frozenset({State.IN_REVIEW}),  # the bank sent the refund back
    # Refunded at once: its money went back without us, and a person says that this is all.
    # Cancelled: no money came in the end.
    State.IN_REVIEW: frozenset({State.PAID, State.REFUNDING, State.REFUNDED, State.CANCELLED}),
}

# A cart has at most one checkout in these states, and its units may be held.
OPEN = frozenset({State.QUEUED, State.VALIDATED, State.ORDERED, State.AWAITING_PAYMENT})

# Nothing more is to be expected by the buyer; what money may still do, `MOVES` says.
FINAL = frozenset({State.PAID, State.FAILED, State.CANCELLED, State.EXPIRED, State.REFUNDED})

# Ends that no money was known at.
UNPAID_ENDS = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED})

# The units of their orders are released.
WITHOUT_UNITS = UNPAID_ENDS | {State.REFUNDING, State.REFUNDED}

# Money may still make a transition of them.
UNSETTLED = OPEN | UNPAID_ENDS | {State.IN_REVIEW}

# Authorised money of these is captured. Of any other state it would only be given back.
CAPTURABLE = OPEN | {State.IN_REVIEW}


class Step(StrEnum):
    """The steps as the API and Flower name them."""

    VALIDATE_CART = "validate_cart"
    CREATE_ORDER = "create_order"
    CREATE_RAZORPAY_ORDER = "create_razorpay_order"
    RECONCILE_PAYMENT = "reconcile_payment"


STEP_OF: dict[State, Step] = {
    State.QUEUED: Step.VALIDATE_CART,
    State.VALIDATED: Step.CREATE_ORDER,
    State.ORDERED: Step.CREATE_RAZORPAY_ORDER,
    State.AWAITING_PAYMENT: Step.RECONCILE_PAYMENT,
}

BUYER_STATUS: dict[State, str] = {
    **{state: state.value for state in State},
    State.VALIDATED: "processing",
    State.ORDERED: "processing",
}


class InvalidTransition(Exception):
    """The table has no such move: a fault of ours, not of the world."""


def check_transition(old: State, new: State) -> None:
    """:raises ForbiddenMove: `new` cannot follow `old`."""
    if new not in TRANSITIONS[old]:
        raise InvalidTransition(f"{old} → {new}")
