"""
Security headers: Content-Security-Policy, Permissions-Policy, and Cache-Control of the API.

Not django-csp: there are only two policies, both fixed when the process starts, and Django 6 has a
setting for them that can replace this module.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"
RAZORPAY = "https://checkout.razorpay.com"
# Other origins that Razorpay's checkout.js uses: the form in its frame, the fraud check that it
# loads, and its log.
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
    """A policy that allows our own origin and the given others, and nothing inline."""
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
    if origin != RAZORPAY:  # the stand-in serves everything from one origin
        return policy(scripts=origin, frames=origin, calls=origin)
    return policy(
        scripts=f"{origin} {RAZORPAY_SCRIPTS}",
        frames=f"{origin} {RAZORPAY_FRAMES}",
        calls=f"{origin} {RAZORPAY_CALLS}",
    )


def permissions(*payers: str) -> str:
    """Deny all sensors and devices; allow the Payment Request API to the origins `payers`."""
    return f"{DENIED}, payment=({' '.join(payers)})"


def allow_gateway(response: HttpResponse) -> None:
    """Allow Razorpay's payment form on this page, and the bank windows that it opens."""
    response[HEADER] = _gateway_policy()
    frames = f'"{_gateway_origin()}"', f'"{RAZORPAY_FRAMES}"'
    response[PERMISSIONS] = permissions("self", *frames)
    response["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
    response["Referrer-Policy"] = "strict-origin-when-cross-origin"  # Razorpay needs our origin


class ContentSecurityPolicy:
    """
    Middleware: the strict policies, unless a view has set others.

    Responses of the API get `no-store`, unless a view says otherwise, because most are private.
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
