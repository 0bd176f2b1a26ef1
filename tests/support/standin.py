"""A real stand-in Razorpay in a process of its own, for all tests."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).resolve().parents[2]
KEY_ID = "rzp_test_standin"
KEY_SECRET = "standin_secret"
WEBHOOK_SECRET = "standin_webhook_secret_0123456789"
START_SECONDS = 20
STOP_SECONDS = 5
CALL_SECONDS = 10


def settled(condition: Callable[[], Any], *, seconds: float = 5) -> Any:
    """Wait until `condition` is true and return its value. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
    return result


class StandIn:
    """
    `with StandIn() as standin:` starts it on a free port and stops it at the end.

    Lists have no lag and webhooks no spread, unless `environment` or `settings` set them. `reset`
    restores the values given here.
    """

    def __init__(
        self,
        *,
        key_id: str = KEY_ID,
        key_secret: str = KEY_SECRET,
        webhook_secrets: str = WEBHOOK_SECRET,
        webhook_urls: str = "",
        port: int = 0,
        **environment: str,
    ) -> None:
        self.key_id = key_id
        self.key_secret = key_secret
        self._first_secret = webhook_secrets.split(",", maxsplit=1)[0]
        self.webhook_secret = self._first_secret
        self.base_url = ""
        self._http = requests.Session()
        self._http.trust_env = False  # ignore proxy variables
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as this object
        self._process: subprocess.Popen[str] | None = None
        self._environment = {
            **os.environ,
            "STANDIN_RECEIPT_LAG_SECONDS": "0",
            "STANDIN_LIST_LAG_SECONDS": "0",
            "STANDIN_WEBHOOK_SPREAD_SECONDS": "0",
            **environment,
            "STANDIN_PORT": str(port),
            "STANDIN_WEBHOOK_URLS": webhook_urls,
            "RAZORPAY_KEY_ID": key_id,
            "RAZORPAY_KEY_SECRET": key_secret,
            "RAZORPAY_WEBHOOK_SECRETS": webhook_secrets,
        }

    def start(self) -> Self:
        """:raises RuntimeError: it did not start; the message has its output."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.standin"],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        assert self._process.stdout
        first_line = self._process.stdout.readline()  # returns when the process ends, too
        if "http://" not in first_line:
            self.stop()
            raise RuntimeError(f"the stand-in did not start: {self.complaints()}")
        self.base_url = json.loads(first_line)["event"].split()[-1]
        self._wait_healthy()
        return self

    def complaints(self) -> str:
        """Its standard error."""
        self._complaints.seek(0)
        return self._complaints.read()

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.base_url)
        return parts.hostname or "", parts.port or 0

    @property
    def authorization(self) -> str:
        """The Authorization header for its key and secret."""
        credentials = f"{self.key_id}:{self.key_secret}".encode()
        return f"Basic {base64.b64encode(credentials).decode()}"

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(requests.ConnectionError):
                self.health()
                return
            if time.monotonic() > deadline:
                raise RuntimeError("the stand-in started but does not answer")
            time.sleep(0.02)

    def stop(self, asked: signal.Signals = signal.SIGTERM) -> int | None:
        """Signal it and wait. Returns its exit code; None if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(asked)
        try:
            process.communicate(timeout=STOP_SECONDS)
        finally:
            process.kill()
            self._http.close()
        return process.returncode

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(self, verb: str, path: str, content: Any = None, **query: str) -> Any:
        """One call to the control API. :raises requests.HTTPError: with the reason."""
        response = self._http.request(
            verb,
            f"{self.base_url}/_standin/{path}",
            json=content,
            params=query,
            timeout=CALL_SECONDS,
        )
        if not response.ok:
            raise requests.HTTPError(f"{verb} {path}: {response.text}", response=response)
        return response.json()

    def health(self) -> dict[str, Any]:
        return self.call("GET", "health")

    # Buyers and banks

    def pay(self, order_id: str, outcome: str = "captured", **options: Any) -> dict[str, Any]:
        """Make a payment; returns its entity, with the handler's fields under `checkout`."""
        return self.call("POST", "payments", {"order_id": order_id, "outcome": outcome, **options})

    def move_payment(self, payment_id: str, move: str, **options: Any) -> dict[str, Any]:
        """`authorize`, `capture`, `fail`, `release` or `refund` a payment that exists."""
        return self.call("POST", f"payments/{payment_id}/{move}", options)

    def move_refund(self, refund_id: str, move: str, **options: Any) -> dict[str, Any]:
        """`process` a pending refund; `fail` one that is pending, or processed."""
        return self.call("POST", f"refunds/{refund_id}/{move}", options)

    # Faults and behaviour

    def settings(self, **values: Any) -> dict[str, Any]:
        """Change these settings. Returns all settings."""
        return self.call("PATCH", "settings", values)

    def set_faults(self, *faults: dict[str, Any]) -> None:
        """Replace all faults. Without arguments: remove them."""
        self.call("PUT", "faults", list(faults))

    def script(self, **values: Any) -> dict[str, Any]:
        """Change the delivery of webhooks: drop_all, drop_next, copies, order, delay_seconds …"""
        return self.call("PATCH", "script", values)

    def advance(self, seconds: float) -> None:
        """Advance its clock and do what falls due."""
        self.call("POST", "clock", {"advance_seconds": seconds})

    def reset(self) -> None:
        """Return to the state after the start."""
        self.call("POST", "reset")
        self.webhook_secret = self._first_secret

    @contextlib.contextmanager
    def webhooks_dropped(self) -> Iterator[None]:
        """Drop every webhook inside the block for good."""
        self.script(drop_all=True)
        try:
            yield
        finally:
            self.script(drop_all=False)

    # State

    def ledger(self) -> dict[str, Any]:
        return self.call("GET", "ledger")

    def orders(self, **query: str) -> list[dict[str, Any]]:
        return self.call("GET", "orders", **query)["items"]

    def payments(self, **query: str) -> list[dict[str, Any]]:
        return self.call("GET", "payments", **query)["items"]

    def refunds(self) -> list[dict[str, Any]]:
        return self.call("GET", "refunds")["items"]

    def requests(self) -> dict[str, dict[str, int]]:
        """{route: {answer: count}}, for example for `orders.create`."""
        return self.traffic()["routes"]

    def traffic(self) -> dict[str, Any]:
        """`routes`, `in_flight`, `peak_in_flight`, and the `events` that were made."""
        return self.call("GET", "requests")

    # Webhooks

    def subscribe(self, url: str, **options: Any) -> dict[str, Any]:
        return self.call("POST", "endpoints", {"url": url, **options})

    def endpoints(self) -> list[dict[str, Any]]:
        return self.call("GET", "endpoints")

    def change_endpoint(self, endpoint_id: str, **values: Any) -> dict[str, Any]:
        return self.call("PATCH", f"endpoints/{endpoint_id}", values)

    def rotate_secret(self, secret: str) -> None:
        """Sign new events with `secret`; older events keep their signature."""
        self.call("POST", "secrets", {"secret": secret})
        self.webhook_secret = secret

    def deliveries(self, **query: str) -> list[dict[str, Any]]:
        return self.call("GET", "deliveries", **query)

    def replay(self, event_id: str) -> list[dict[str, Any]]:
        return self.call("POST", f"events/{event_id}/replay")

    def sign(self, body: bytes) -> str:
        """The signature of a genuine webhook with this body."""
        return hmac.new(self.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
