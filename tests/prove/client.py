"""
A client of the API, like the storefront: it honours Retry-After and repeats with the same key.

An answer that the shop must never give is recorded as a complaint.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

CALL_SECONDS = 30  # more than the statement timeout, 15 s
GIVE_UP_SECONDS = 180  # of one request, over all its tries
PAUSE_SECONDS = 0.25  # before a request is sent again that got no answer
MAX_PAUSE_SECONDS = 5

POST_CHECKOUT = "/api/payments/create-from-cart/"


class Answer(NamedTuple):
    status: int
    headers: Any
    content: Any

    @property
    def code(self) -> str:
        """The code of a refusal; empty for anything else."""
        return str(self.content.get("code", "")) if isinstance(self.content, dict) else ""


class NoAnswer(Exception):
    """The connection failed, before or after the request was carried out."""


class GaveUp(Exception):
    """No answer came within `GIVE_UP_SECONDS`."""


@dataclass
class Tally:
    """Counts over all requests."""

    answers: Counter[int] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    unanswered: int = 0  # requests without an answer, sent again
    told_to_wait: int = 0  # 503 with Retry-After, sent again
    slowest_post_seconds: float = 0.0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def complain(self, sentence: str) -> None:
        with self.turn:
            self.complaints.append(sentence)


class Client:
    """One per run; every thread uses it."""

    def __init__(self, base_url: str, tally: Tally, *, connections: int) -> None:
        address = urlsplit(base_url)
        self.tally = tally
        self._pool = urllib3.HTTPConnectionPool(
            address.hostname or "",
            address.port,
            maxsize=connections,
            retries=False,
            timeout=urllib3.Timeout(CALL_SECONDS),
        )

    def call(
        self, verb: str, path: str, body: Any = None, *, token: str = "", key: str = ""
    ) -> Answer:
        """
        Send until an answer comes that is not 429 or 503. Only for requests that may be repeated.

        :raises GaveUp: none came within `GIVE_UP_SECONDS`.
        """
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self.call_once(verb, path, body, token=token, key=key)
            except NoAnswer:
                with self.tally.turn:
                    self.tally.unanswered += 1
                time.sleep(PAUSE_SECONDS)
                continue
            if answer.status not in {429, 503}:
                return answer
            with self.tally.turn:
                self.tally.told_to_wait += 1
            time.sleep(min(float(answer.headers.get("Retry-After", 1)), MAX_PAUSE_SECONDS))
        raise GaveUp(f"{verb} {path}: no answer in {GIVE_UP_SECONDS} s")

    def call_once(
        self, verb: str, path: str, body: Any = None, *, token: str = "", key: str = ""
    ) -> Answer:
        """One request. :raises NoAnswer: the connection failed."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if key:
            headers["Idempotency-Key"] = key
        sent = None if body is None else json.dumps(body).encode()
        began = time.monotonic()
        try:
            reply = self._pool.request(verb, path, body=sent, headers=headers)
        except (HTTPError, OSError) as error:
            raise NoAnswer(repr(error)) from error
        answer = Answer(reply.status, reply.headers, _content(reply.data))
        self._note(verb, path, answer, reply.data, seconds=time.monotonic() - began)
        return answer

    def _note(self, verb: str, path: str, answer: Answer, data: bytes, *, seconds: float) -> None:
        with self.tally.turn:
            self.tally.answers[answer.status] += 1
            if answer.status == 202 and path == POST_CHECKOUT:
                self.tally.slowest_post_seconds = max(self.tally.slowest_post_seconds, seconds)
        if answer.status >= 500 and not (answer.status == 503 and "Retry-After" in answer.headers):
            self.tally.complain(f"{verb} {path} answered {answer.status}: {data[:300]!r}")
        if answer.status >= 400 and not answer.code:
            self.tally.complain(f"{verb} {path} refused without a code: {data[:300]!r}")


def _content(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None
