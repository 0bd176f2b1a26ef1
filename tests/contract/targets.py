"""The targets of the contract: the stand-in, and Razorpay's test mode if an account is set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import certifi
import razorpay
import requests

from shop.payments.razorpay.client import RazorpayGateway
from tests.support import environment
from tests.support.standin import StandIn

STANDIN, TEST_MODE = "stand-in", "Razorpay test mode"
NAMES = [STANDIN, TEST_MODE] if environment.TEST_ACCOUNT else [STANDIN]
TIMEOUT_SECONDS = 30
REAL_URL = "https://api.razorpay.com"


class TimedSession(requests.Session):
    """The SDK has no default timeout; a hanging test would never end."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        options.setdefault("timeout", TIMEOUT_SECONDS)
        return super().request(*args, **options)


@dataclass(frozen=True)
class Target:
    base_url: str
    key_id: str
    key_secret: str
    pass_seconds: Callable[[float], None]

    @classmethod
    def of_standin(cls, standin: StandIn) -> Target:
        return cls(standin.base_url, standin.key_id, standin.key_secret, standin.advance)

    @classmethod
    def of_test_mode(cls) -> Target:
        assert environment.TEST_ACCOUNT
        return cls(REAL_URL, *environment.TEST_ACCOUNT, time.sleep)

    @property
    def sdk(self) -> razorpay.Client:
        client = razorpay.Client(
            session=TimedSession(), auth=(self.key_id, self.key_secret), base_url=self.base_url
        )
        client.cert_path = certifi.where()
        return client

    def gateway(self, *, key_secret: str = "") -> RazorpayGateway:
        """The shop's own adaptor."""
        return RazorpayGateway(
            key_id=self.key_id,
            key_secret=key_secret or self.key_secret,
            base_url=self.base_url,
            timeout_seconds=TIMEOUT_SECONDS,
            connections=1,
        )

    def call(self, verb: str, path: str, **options: Any) -> requests.Response:
        """A plain call, for the statuses and error bodies that the SDK hides."""
        options.setdefault("auth", (self.key_id, self.key_secret))
        return TimedSession().request(verb, f"{self.base_url}/v1/{path}", **options)
