from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse

from shop.web import content_policy


def directives(response: HttpResponse) -> dict[str, set[str]]:
    parts = (part.split() for part in response[content_policy.HEADER].split(";"))
    return {name: set(sources) for name, *sources in parts}


def answer(path: str) -> HttpResponse:
    request = HttpRequest()
    request.path = path
    return content_policy.ContentSecurityPolicy(lambda _request: HttpResponse())(request)


def test_a_page_loads_only_from_the_shop_and_nothing_inline():
    policy = directives(answer("/cart/"))

    assert policy["default-src"] == {"'none'"}
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == {"'self'"}
    assert policy["frame-src"] == policy["frame-ancestors"] == policy["base-uri"] == {"'none'"}


def test_the_stand_in_is_one_origin(settings):
    settings.RAZORPAY_CHECKOUT_JS = "http://127.0.0.1:8010/v1/checkout.js"
    response = HttpResponse()

    content_policy.allow_gateway(response)

    policy = directives(response)
    for name in ("script-src", "connect-src"):
        assert policy[name] == {"'self'", "http://127.0.0.1:8010"}


def test_in_live_mode_only_razorpays_origins_are_allowed(settings):
    settings.RAZORPAY_CHECKOUT_JS = "https://checkout.razorpay.com/v1/checkout.js"
    response = HttpResponse()

    content_policy.allow_gateway(response)

    others = set.union(*directives(response).values()) - {"'self'", "'none'", "data:"}
    assert others == {
        "https://checkout.razorpay.com",
        "https://cdn.razorpay.com",
        "https://api.razorpay.com",
        "https://lumberjack.razorpay.com",
    }


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Cross-Origin-Opener-Policy", "same-origin-allow-popups"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ],
)
def test_bank_windows_and_razorpays_origin_check_work(header: str, value: str):
    response = HttpResponse()

    content_policy.allow_gateway(response)

    assert response[header] == value
