"""The `Retry-After` of a 429."""

import pytest
import urllib3

from shop.payments.gateway import Unreachable
from shop.payments.razorpay import client


def retry_after_seconds(header: str) -> float | None:
    response = urllib3.HTTPResponse(status=429, headers={"Retry-After": header})
    with pytest.raises(Unreachable) as raised:
        client._parsed(response, b"{}")
    return raised.value.retry_after_seconds


@pytest.mark.parametrize(("header", "seconds"), [("2", 2), ("0.5", 0.5), ("-3", 0)])
def test_it_is_respected(header, seconds):
    assert retry_after_seconds(header) == seconds


def test_it_limits_the_gateway_for_a_minute_at_most():
    assert retry_after_seconds("1e15") == 60


@pytest.mark.parametrize("header", ["inf", "nan", "Wed, 25 Nov 2026 12:00:00 GMT", ""])
def test_a_value_that_is_no_number_of_seconds_is_ignored(header):
    assert retry_after_seconds(header) is None
