import pytest

from shop.payments.gateway import (
    Declined,
    DuplicateReceipt,
    GatewayError,
    OutcomeUnknown,
    Unreachable,
)
from shop.payments.razorpay.instrumentation import outcome_of


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Declined("no", "no"), "declined"),
        (DuplicateReceipt("again", existing_order_id=None), "declined"),
        (Unreachable("no route"), "unreachable"),
        (Unreachable("429", is_rate_limit=True), "rate_limited"),
        (OutcomeUnknown("timeout"), "unknown"),
    ],
)
def test_each_gateway_error_has_an_outcome(error: GatewayError, outcome: str):
    assert outcome_of(error) == outcome
