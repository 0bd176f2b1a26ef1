"""The table of states: complete, and without a way to lose money."""

import itertools

import pytest

from shop.checkout.states import (
    BEFORE_ORDER,
    BUYER_STATUS,
    ENDING,
    FINAL,
    GIVEN_BACK,
    LATE_MONEY,
    OPEN,
    REOPENED,
    STATES,
    STEP_OF,
    TRANSITIONS,
    UNPAID_ENDS,
    WITH_TASK,
    WITHOUT_UNITS,
    InvalidTransition,
    State,
    Step,
    check_transition,
)
from shop.orders import StockState
from tasks.app import app
from tasks.registry import NEXT_TASK


def test_every_state_has_its_transitions_and_a_word_for_the_buyer():
    assert list(STATES) == list(TRANSITIONS) == list(State) == list(BUYER_STATUS)


def test_every_state_has_a_message_but_failed_which_has_one_in_its_row():
    assert [state for state, info in STATES.items() if not info.message] == [State.FAILED]


def test_a_state_has_a_task_or_a_reason_why_staff_cannot_retry_it():
    assert all(bool(info.task) != bool(info.not_retryable) for info in STATES.values())


def test_each_task_of_the_table_is_a_task_of_the_worker():
    app.loader.import_default_modules()
    assert set(NEXT_TASK) == WITH_TASK
    assert set(NEXT_TASK.values()) <= set(app.tasks)


def test_the_steps_of_the_timeline_lead_from_the_first_state_to_paid():
    assert list(STEP_OF.values()) == list(Step)
    state = State.QUEUED
    for step in Step:
        assert STATES[state].step is step
        assert STATES[state].step_ends_in in TRANSITIONS[state]
        state = STATES[state].step_ends_in
    assert state is State.PAID


def test_units_are_where_an_order_can_have_them():
    assert set().union(*(info.units for info in STATES.values())) == set(StockState)
    assert {State.QUEUED, State.VALIDATED} <= BEFORE_ORDER
    assert State.ORDERED not in BEFORE_ORDER
    assert UNPAID_ENDS | GIVEN_BACK == WITHOUT_UNITS


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
    pipeline = {(state, STATES[state].step_ends_in) for state in OPEN}
    assert into_open == {
        *((old, new) for old, new in pipeline if new in OPEN),
        *((end, State.AWAITING_PAYMENT) for end in UNPAID_ENDS),
    }


def test_open_final_and_ending_states_are_all_and_do_not_overlap():
    assert len(OPEN) + len(FINAL) + len(ENDING) == len(State)
    assert set(State) == OPEN | FINAL | ENDING


def test_a_transition_that_is_not_in_the_table_is_refused():
    with pytest.raises(InvalidTransition, match="paid → cancelled"):
        check_transition(State.PAID, State.CANCELLED)
