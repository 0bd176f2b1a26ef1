import itertools

import pytest

from shop.checkout.states import (
    BUYER_STATUS,
    FINAL,
    LATE_MONEY,
    OPEN,
    REOPENED,
    TRANSITIONS,
    UNPAID_ENDS,
    InvalidTransition,
    State,
    check_transition,
)


def test_every_state_has_its_moves_and_a_word_for_the_buyer():
    assert set(TRANSITIONS) == set(State) == set(BUYER_STATUS)


def test_every_state_can_be_reached():
    assert set().union(*TRANSITIONS.values()) == set(State) - {State.QUEUED}


def test_money_that_is_in_is_never_forgotten():
    assert not TRANSITIONS[State.PAID]
    assert TRANSITIONS[State.REFUNDED] == {State.IN_REVIEW}


def test_an_end_without_money_can_be_left_by_money_alone():
    assert {state for state in FINAL if TRANSITIONS[state] == LATE_MONEY | REOPENED} == UNPAID_ENDS


def test_a_review_ends_with_its_money_kept_or_back_or_never_come():
    kept, back, never = {State.PAID}, {State.REFUNDING, State.REFUNDED}, {State.CANCELLED}
    assert TRANSITIONS[State.IN_REVIEW] == kept | back | never


def test_an_open_state_is_entered_from_the_one_before_or_opened_again():
    into_open = {
        (old, new) for old, new in itertools.product(State, OPEN) if new in TRANSITIONS[old]
    }
    assert into_open == {
        (State.QUEUED, State.VALIDATED),
        (State.VALIDATED, State.ORDERED),
        (State.ORDERED, State.AWAITING_PAYMENT),
        *((end, State.AWAITING_PAYMENT) for end in UNPAID_ENDS),
    }


def test_open_and_final_do_not_overlap():
    assert not OPEN & FINAL


def test_a_move_that_is_not_in_the_table_is_refused():
    with pytest.raises(InvalidTransition, match="paid → cancelled"):
        check_transition(State.PAID, State.CANCELLED)
