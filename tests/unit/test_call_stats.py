from __future__ import annotations

from itertools import pairwise

import pytest

from shop.payments.call_stats import BOUNDS_MS, outcome_of, percentile_ms
from shop.payments.gateway import (
    Declined,
    DuplicateReceipt,
    NothingAsked,
    OutcomeUnknown,
    Unreachable,
)

EMPTY = [0] * (len(BOUNDS_MS) + 1)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ([], "ok"),
        (None, "ok"),
        (NothingAsked(), "ok"),
        (NothingAsked(OutcomeUnknown("?")), "unknown"),
        (Declined("no", "no"), "declined"),
        (DuplicateReceipt("again", existing_order_id=None), "declined"),
        (Unreachable("no route"), "unreachable"),
        (Unreachable("429", is_rate_limit=True), "rate_limited"),
        (OutcomeUnknown("timeout"), "unknown"),
    ],
)
def test_each_answer_has_an_outcome(answer: object, outcome: str):
    assert outcome_of(answer) == outcome


def counts(**at: int) -> list[int]:
    """Counts by the upper bound of their place: counts(to_50=3)."""
    found = list(EMPTY)
    for name, count in at.items():
        bound = int(name.removeprefix("to_"))
        found[BOUNDS_MS.index(bound) if bound in BOUNDS_MS else -1] = count
    return found


def test_a_percentile_lies_within_the_bounds_of_its_calls():
    assert percentile_ms(counts(to_50=10), 0.5) == 37.5
    assert percentile_ms(counts(to_50=10), 1.0) == 50
    assert percentile_ms(counts(to_25=50, to_200=50), 0.95) == 195


def test_without_calls_there_is_none():
    assert percentile_ms(EMPTY, 0.5) is None


def test_what_is_slower_than_the_last_bound_is_at_least_that():
    assert percentile_ms(counts(to_99999=1), 0.5) == BOUNDS_MS[-1]


def test_bounds_lie_no_more_than_a_factor_of_two_apart():
    assert all(upper / lower <= 2 for lower, upper in pairwise(BOUNDS_MS))
