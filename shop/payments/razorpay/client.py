"""
The Razorpay gateway, on top of Razorpay's SDK 2.0.1, with workarounds for the SDK's faults:

- It has no timeout, so the transport sets one, and a deadline for bodies that arrive slowly.
- It drops the HTTP status and treats 401, 409 and 429 as bad requests, so the transport turns every
  answer of 300 and above into one of our errors before the SDK sees it.
- It fails and prints on bodies that are not JSON (a 502 page), so it only gets valid JSON.
- Its retry repeats a POST after a timeout, so it stays off.
- It trusts a certificate bundle of 2015. The transport trusts certifi's.
- Some of its methods write into a shared default argument, so we pass a new dict each time.
- It reads its own version from disk for every request. We cache it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib import metadata
from math import isfinite
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import razorpay
import urllib3
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from shop.payments.gateway import (
    Busy,
    Declined,
    DuplicateReceipt,
    Listing,
    OutcomeUnknown,
    PaymentFact,
    RefundFact,
    RemoteOrder,
    Unreachable,
    Unreadable,
    refuse_inside_transaction,
)
from shop.payments.razorpay import webhooks
from shop.payments.razorpay.entities import (
    UNREADABLE,
    entity_id,
    payment_fact,
    refund_fact,
    remote_order,
)
from shop.payments.razorpay.instrumentation import instrumented
from shop.telemetry.redaction import redacted

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 60.0  # a longer `Retry-After` is taken for a mistake
MAX_ANSWER_BYTES = 8 * 1024 * 1024

# The message of a 400 while another operation on the entity is in progress. It passes.
IN_PROGRESS = "operation is in progress"
# The messages of accounts that require unique receipts, in two editions of the documentation.
DUPLICATE_RECEIPT = ("receipt should be unique", "Duplicate request")


class RazorpayGateway:
    """One per process, created after fork. Thread-safe."""

    def __init__(
        self,
        *,
        key_id: str,
        key_secret: str,
        base_url: str,
        timeout_seconds: float,
        connections: int,
        capture: str = "automatic",
    ) -> None:
        self._capture = capture
        base_url = base_url.rstrip("/")
        transport = _Transport(base_url, timeout_seconds=timeout_seconds, connections=connections)
        self._client = _Client(session=transport, auth=(key_id, key_secret), base_url=base_url)

    @instrumented
    def create_order(self, *, receipt: str, amount_paise: int, currency: str) -> RemoteOrder:
        refuse_inside_transaction()
        body = {
            "amount": amount_paise,
            "currency": currency,
            "receipt": receipt,
            "payment_capture": 1 if self._capture == "automatic" else 0,
        }
        return _answered(remote_order, self._client.order.create(body))

    @instrumented
    def find_orders(self, *, receipt: str) -> Listing[RemoteOrder]:
        refuse_inside_transaction()
        answer = self._client.order.all({"receipt": receipt, "count": 100})
        return _listing("order", remote_order, answer)

    @instrumented
    def fetch_order(self, *, gateway_order_id: str) -> RemoteOrder:
        refuse_inside_transaction()
        return _answered(remote_order, self._client.order.fetch(gateway_order_id))

    @instrumented
    def fetch_payments(self, *, gateway_order_id: str) -> Listing[PaymentFact]:
        refuse_inside_transaction()
        return _listing("payment", payment_fact, self._client.order.payments(gateway_order_id))

    @instrumented
    def fetch_payment(self, *, gateway_payment_id: str) -> PaymentFact:
        refuse_inside_transaction()
        return _answered(payment_fact, self._client.payment.fetch(gateway_payment_id))

    @instrumented
    def capture(self, *, gateway_payment_id: str, amount_paise: int, currency: str) -> PaymentFact:
        refuse_inside_transaction()
        answer = self._client.payment.capture(
            gateway_payment_id, amount_paise, {"currency": currency}
        )
        return _answered(payment_fact, answer)

    @instrumented
    def refund(self, *, gateway_payment_id: str, amount_paise: int, key: str) -> RefundFact:
        refuse_inside_transaction()
        answer = self._client.payment.refund(
            gateway_payment_id,
            {"amount": amount_paise, "receipt": key},
            headers={"X-Refund-Idempotency": key},
        )
        return _answered(refund_fact, answer)

    @instrumented
    def fetch_refunds(self, *, gateway_payment_id: str) -> Listing[RefundFact]:
        refuse_inside_transaction()
        answer = self._client.payment.fetch_multiple_refund(gateway_payment_id, {"count": 100})
        return _listing("refund", refund_fact, answer)

    @instrumented
    def list_payments(
        self, *, since: datetime, until: datetime, skip: int, count: int
    ) -> Listing[PaymentFact]:
        refuse_inside_transaction()
        span = {"from": int(since.timestamp()), "to": int(until.timestamp())}
        answer = self._client.payment.all(span | {"skip": skip, "count": count})
        return _listing("payment", payment_fact, answer)


def _listing(kind: str, read: Callable[[Any], T], answer: Any) -> Listing[T]:
    """Read each item separately, so that an unreadable one hides no other."""
    items: list[T] = []
    unreadable: list[Unreadable] = []
    for item in _answered(lambda listed: list(listed["items"]), answer):
        try:
            items.append(read(item))
        except UNREADABLE as error:
            body = webhooks.body_of(kind, item)
            unreadable.append(Unreadable(_id_of(item), item, repr(error), body))
    return Listing(items, unreadable)


def _id_of(item: Any) -> str:
    try:
        return entity_id(item["id"])
    except UNREADABLE:
        return f"sha256:{hashlib.sha256(json.dumps(item).encode()).hexdigest()[:57]}"


def _answered(read: Callable[[Any], T], answer: Any) -> T:
    """:raises OutcomeUnknown: the answer was a 200, but its shape does not say what happened."""
    try:
        return read(answer)
    except UNREADABLE as error:
        raise OutcomeUnknown(f"unreadable answer: {error!r}") from error


class _Client(razorpay.Client):
    _get_version = staticmethod(cache(partial(metadata.version, "razorpay")))


@dataclass(frozen=True, slots=True)
class _Answer:
    """The part of a response that the SDK reads."""

    status_code: int
    content: Any

    def json(self) -> Any:
        return self.content


class _Transport:
    """
    Replaces the SDK's `requests.Session`: returns valid JSON or raises one of our errors. Keeps up
    to `connections` connections open.

    It uses urllib3, on which `requests` is built: the same call takes a third of the CPU. Like
    `requests`, it uses the proxy of `HTTPS_PROXY`.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float, connections: int) -> None:
        self._timeout_seconds = timeout_seconds
        options: dict[str, Any] = {
            "maxsize": connections,
            "retries": False,
            "ca_certs": certifi.where(),
        }
        address = urlsplit(base_url)
        proxy = getproxies().get(address.scheme)
        self._pool = (
            urllib3.ProxyManager(proxy, **options)
            if proxy and not proxy_bypass(address.hostname or "")
            else urllib3.PoolManager(**options)
        )

    def get(self, url: str, *, params: dict[str, Any] | None = None, **options: Any) -> _Answer:
        query = f"?{urlencode(params)}" if params else ""
        return self._send("GET", url + query, **options)

    def post(self, url: str, *, data: str, **options: Any) -> _Answer:
        return self._send("POST", url, body=data, **options)

    def _send(
        self,
        method: str,
        url: str,
        *,
        auth: tuple[str, str],
        headers: dict[str, str],
        verify: object,  # the SDK's certificate bundle: not used
        body: str | None = None,
    ) -> _Answer:
        deadline = time.monotonic() + self._timeout_seconds
        headers |= urllib3.make_headers(basic_auth=":".join(auth), accept_encoding=True)
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=self._timeout_seconds,
                redirect=False,
                preload_content=False,
            )
            content = _read(response, deadline=deadline)
        except ConnectTimeoutError as error:
            raise Unreachable("no connection in time") from error
        except NewConnectionError as error:  # refused, or unknown host: the request was not sent
            raise Unreachable("no connection") from error
        except urllib3.exceptions.HTTPError as error:
            raise OutcomeUnknown(type(error).__name__) from error
        return _Answer(response.status, _parsed(response, content))


def _read(response: urllib3.BaseHTTPResponse, *, deadline: float) -> bytes:
    """The whole body, within the deadline: the socket's timeout restarts with each byte."""
    body = bytearray()
    try:
        while chunk := response.read1(65536, decode_content=True):
            body += chunk
            if time.monotonic() > deadline or len(body) > MAX_ANSWER_BYTES:
                raise OutcomeUnknown("the answer took too long or was too large")
    except BaseException:
        response.close()  # the next request must not read the rest of this answer
        raise
    response.release_conn()
    return bytes(body)


def _parsed(response: urllib3.BaseHTTPResponse, content: bytes) -> dict[str, Any]:
    """
    The answer of a 2xx as JSON (razorpay.com/docs/errors).

    A status of 400 and above without an `error` object comes from a proxy, not from the API: the
    outcome is unknown then.

    :raises GatewayError: any other answer.
    """
    status = response.status
    answer = _json(content)
    if 200 <= status < 300 and isinstance(answer, dict):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    message = redacted(str(error.get("description") or "")) if isinstance(error, dict) else ""
    if status in {401, 403}:
        raise Unreachable(f"our credentials are refused: {message}")
    if status == 429:
        raise Unreachable(
            "too many requests", retry_after_seconds=_retry_after(response), is_rate_limit=True
        )
    if not 400 <= status < 500 or not isinstance(error, dict):
        raise OutcomeUnknown(f"HTTP {status} {message}".strip())
    if status == 409 or IN_PROGRESS in message:
        raise Busy(message)
    metadata = error.get("metadata")
    existing = metadata.get("order_id") if isinstance(metadata, dict) else None
    if existing or any(words in message for words in DUPLICATE_RECEIPT):
        raise DuplicateReceipt(
            message, existing_order_id=existing if isinstance(existing, str) else None
        )
    raise Declined(str(error.get("reason") or error.get("code") or "bad_request"), message)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """In seconds; None if there is none. Python also reads `nan` and `inf` as numbers."""
    try:
        seconds = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS) if isfinite(seconds) else None
