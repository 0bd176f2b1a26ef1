"""
What browsers are told with every answer: the Content-Security-Policy, what devices a page may use,
and whether the answer may be stored.

Twenty lines instead of django-csp: there are two policies, both fixed when the process starts, and
Django 6 brings its own setting for them, into which these lines can turn.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"
RAZORPAY = "https://checkout.razorpay.com"
# What Razorpay's checkout.js reaches for beside its own origin: the form in its frame, the check
# for fraud that it loads, and its log.
RAZORPAY_FRAMES = "https://api.razorpay.com"
RAZORPAY_SCRIPTS = "https://cdn.razorpay.com"
PERMISSIONS = "Permissions-Policy"
DENIED = ", ".join(
    f"{device}=()"
    for device in (
        "accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid",
        "magnetometer", "microphone", "midi", "serial", "usb",
    )
)  # fmt: skip
CACHING = "Cache-Control"
API_PATH = "/api/"
RAZORPAY_CALLS = "https://api.razorpay.com https://lumberjack.razorpay.com"


def policy(*, scripts: str = "", frames: str = "'none'", calls: str = "") -> str:
    """Everything from ourselves, nothing inline, and of others what is named."""
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self'; img-src 'self' data:;"
        f" font-src 'self'; connect-src 'self' {calls}; frame-src {frames}; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    )


def _gateway_origin() -> str:
    parts = urlsplit(settings.RAZORPAY_CHECKOUT_JS)
    return f"{parts.scheme}://{parts.netloc}"


def _gateway_policy() -> str:
    origin = _gateway_origin()
    if origin != RAZORPAY:  # a stand-in is all of Razorpay at one address
        return policy(scripts=origin, frames=origin, calls=origin)
    return policy(
        scripts=f"{origin} {RAZORPAY_SCRIPTS}",
        frames=f"{origin} {RAZORPAY_FRAMES}",
        calls=f"{origin} {RAZORPAY_CALLS}",
    )


def permissions(*payers: str) -> str:
    """No sensor and no device, and payment requests of the browser only for these origins."""
    return f"{DENIED}, payment=({' '.join(payers)})"


def allow_gateway(response: HttpResponse) -> None:
    """Let the payment form run on this page, and in the windows of banks that it opens."""
    response[HEADER] = _gateway_policy()
    frames = f'"{_gateway_origin()}"', f'"{RAZORPAY_FRAMES}"'
    response[PERMISSIONS] = permissions("self", *frames)
    response["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
    response["Referrer-Policy"] = "strict-origin-when-cross-origin"  # Razorpay asks which shop


class ContentSecurityPolicy:
    """
    The strict policies, wherever a view has not set others; and no answer of the API is stored by a
    browser or a cache, unless its view says that it may be: most of them are somebody's own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.strict = {HEADER: policy(), PERMISSIONS: permissions()}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in self.strict.items():
            response.headers.setdefault(name, value)
        if request.path_info.startswith(API_PATH):
            response.headers.setdefault(CACHING, "no-store")
        return response
