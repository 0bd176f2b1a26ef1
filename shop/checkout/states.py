"""
What is true of each state of a checkout: the table `STATES`, and sets that follow from it.

Data and pure functions that need no Django.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Literal


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


class Step(StrEnum):
    """The steps as the API names them. Flower has a task of the same name for all but the last."""

    VALIDATE_CART = "validate_cart"
    CREATE_ORDER = "create_order"
    CREATE_RAZORPAY_ORDER = "create_razorpay_order"
    RECONCILE_PAYMENT = "reconcile_payment"


class Phase(Enum):
    """How a checkout stands with its money."""

    OPEN = auto()  # not paid yet; a cart has at most one open checkout
    UNPAID = auto()  # ended without known money; late money may still come
    PAID = auto()
    GIVEN_BACK = auto()  # its money is on its way back, or there
    REVIEW = auto()  # staff decide about its money


Units = Literal["held", "sold", "released"]  # as `orders.StockState` has them
HELD: frozenset[Units] = frozenset({"held"})
SOLD: frozenset[Units] = frozenset({"sold"})
RELEASED: frozenset[Units] = frozenset({"released"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInfo:
    """What is true of one state. A new state or step is one entry of `STATES`."""

    phase: Phase
    next: frozenset[State]  # the states that may follow
    is_final: bool = False  # the buyer has nothing more to expect
    status: str = ""  # the buyer's word for it; empty: the name of the state
    message: str = ""  # to the buyer; empty: the sentence is in the row
    refund_message: str = ""  # to the buyer, where the refund is known
    ended_because: str = ""  # to a buyer whose money came after this end

    step: Step | None = None  # the step that a checkout in this state is at
    step_ends_in: State | None = None  # the state after that step, if all goes well
    task: str = ""  # the Celery task that runs the step; empty: none does
    not_retryable: str = ""  # why staff cannot run the step again; `{code}` is the failure's

    units: frozenset[Units] = frozenset()  # where those of its order may be


# Money may come for a checkout that we or the buyer have given up, and for a Razorpay order that we
# are still looking for. Only `settle` makes these transitions.
LATE_MONEY = frozenset({State.PAID, State.REFUNDING, State.IN_REVIEW})

# A late authorisation that can be served opens its checkout again: the units are held while the
# money is captured.
REOPENED = frozenset({State.AWAITING_PAYMENT})

STATES: dict[State, StateInfo] = {
    State.QUEUED: StateInfo(
        phase=Phase.OPEN,
        next=frozenset({State.VALIDATED, State.FAILED, State.CANCELLED}),
        message="We have your order and are checking your cart.",
        step=Step.VALIDATE_CART,
        step_ends_in=State.VALIDATED,
        task="checkout.validate_cart",
    ),
    State.VALIDATED: StateInfo(
        phase=Phase.OPEN,
        next=frozenset({State.ORDERED, State.FAILED, State.CANCELLED}),
        status="processing",
        message="We are setting your items aside.",
        step=Step.CREATE_ORDER,
        step_ends_in=State.ORDERED,
        task="checkout.create_order",
    ),
    State.ORDERED: StateInfo(
        phase=Phase.OPEN,
        next=frozenset({State.AWAITING_PAYMENT, State.FAILED, State.CANCELLED}) | LATE_MONEY,
        status="processing",
        message="Your items are set aside. We are preparing the payment.",
        step=Step.CREATE_RAZORPAY_ORDER,
        step_ends_in=State.AWAITING_PAYMENT,
        task="checkout.create_razorpay_order",
        units=HELD,
    ),
    State.AWAITING_PAYMENT: StateInfo(
        phase=Phase.OPEN,
        next=frozenset({State.EXPIRED, State.CANCELLED}) | LATE_MONEY,
        message="Your items are set aside. You can pay now.",
        step=Step.RECONCILE_PAYMENT,
        step_ends_in=State.PAID,
        not_retryable="This checkout waits for the buyer to pay. Ask Razorpay instead.",
        units=HELD,
    ),
    State.PAID: StateInfo(
        phase=Phase.PAID,
        next=frozenset(),  # a refund lives on its own row
        is_final=True,
        message="Paid. Thank you for your order!",
        not_retryable="This checkout is paid. There is nothing to retry.",
        units=SOLD,
    ),
    State.FAILED: StateInfo(
        phase=Phase.UNPAID,
        next=LATE_MONEY | REOPENED,
        is_final=True,
        ended_because="this checkout had ended",
        not_retryable="This checkout has failed ({code}). The buyer has to order again.",
        units=RELEASED,
    ),
    State.CANCELLED: StateInfo(
        phase=Phase.UNPAID,
        next=LATE_MONEY | REOPENED,
        is_final=True,
        message="This checkout was cancelled. Nothing was charged.",
        ended_because="you cancelled",
        not_retryable="This checkout was cancelled. The buyer has to order again.",
        units=RELEASED,
    ),
    State.EXPIRED: StateInfo(
        phase=Phase.UNPAID,
        next=LATE_MONEY | REOPENED,
        is_final=True,
        message=(
            "The time to pay ran out and your items are free again. If you did pay after all, your"
            " money is safe: we will notice, and deliver or refund."
        ),
        ended_because="the time to pay had run out",
        not_retryable="This checkout was not paid in time. The buyer has to order again.",
        units=RELEASED,
    ),
    State.REFUNDING: StateInfo(
        phase=Phase.GIVEN_BACK,
        next=frozenset({State.REFUNDED, State.IN_REVIEW}),
        message="Your money is on its way back to you.",
        refund_message="{why} {amount} is on its way back to you.",
        not_retryable="The money of this checkout is being refunded. See its refunds.",
        units=RELEASED,
    ),
    State.REFUNDED: StateInfo(
        phase=Phase.GIVEN_BACK,
        next=frozenset({State.IN_REVIEW}),  # the bank sent the refund back
        is_final=True,
        message="Your money was refunded.",
        refund_message="{amount} was sent back to you. Banks take up to seven working days.",
        not_retryable="This checkout was refunded. The buyer has to order again.",
        units=RELEASED,
    ),
    State.IN_REVIEW: StateInfo(
        phase=Phase.REVIEW,
        # Refunded at once: its money went back without us, and staff say that this is all.
        # Cancelled: no money came in the end.
        next=frozenset({State.PAID, State.REFUNDING, State.REFUNDED, State.CANCELLED}),
        message=(
            "Your payment reached us, but something about it does not fit. Your money is safe: we"
            " are looking into it and will write to you."
        ),
        not_retryable="This checkout needs a decision: accept the money, or refund everything.",
        units=HELD | RELEASED,
    ),
}


TRANSITIONS: dict[State, frozenset[State]] = {state: info.next for state, info in STATES.items()}


def _in_phases(*phases: Phase) -> frozenset[State]:
    return frozenset(state for state, info in STATES.items() if info.phase in phases)


OPEN = _in_phases(Phase.OPEN)
UNPAID_ENDS = _in_phases(Phase.UNPAID)
GIVEN_BACK = _in_phases(Phase.GIVEN_BACK)
# Money may still make a transition from these.
UNSETTLED = _in_phases(Phase.OPEN, Phase.UNPAID, Phase.REVIEW)
# Authorised money of these is captured. Of any other state it would only be given back.
CAPTURABLE = _in_phases(Phase.OPEN, Phase.REVIEW)
# Money has come for these.
WITH_MONEY = _in_phases(Phase.PAID, Phase.GIVEN_BACK, Phase.REVIEW)

FINAL = frozenset(state for state, info in STATES.items() if info.is_final)
# A refund or a decision of staff is still to come.
ENDING = frozenset(State) - OPEN - FINAL
# A task moves these on. One that stays here is stuck, and staff can retry it.
WITH_TASK = frozenset(state for state, info in STATES.items() if info.task)
# The order is not placed yet.
BEFORE_ORDER = frozenset(state for state in OPEN if not STATES[state].units)
# The units of the order are released.
WITHOUT_UNITS = frozenset(state for state, info in STATES.items() if info.units == RELEASED)

# In the order in which a buyer goes through them.
STEP_OF: dict[State, Step] = {state: info.step for state, info in STATES.items() if info.step}
STATE_OF: dict[Step, State] = {step: state for state, step in STEP_OF.items()}
BUYER_STATUS: dict[State, str] = {
    state: info.status or state.value for state, info in STATES.items()
}


class InvalidTransition(Exception):
    """The table has no such transition: a bug of ours."""


def check_transition(old: State, new: State) -> None:
    """:raises InvalidTransition: `new` cannot follow `old`."""
    if new not in TRANSITIONS[old]:
        raise InvalidTransition(f"{old} → {new}")


def in_sql(states: Iterable[State]) -> str:
    """The states as an SQL list has them, without parentheses."""
    return ", ".join(f"'{state}'" for state in sorted(states))
