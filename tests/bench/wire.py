"""
HTTP/1.1 over raw sockets, for little CPU: the load generator must not slow down the shop.

Connections are kept alive, as a proxy in front of the shop keeps them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ANSWER_SECONDS = 60
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
BODILESS = {204, 304}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    head: bytes
    body: bytes
    started_at: float  # seconds since the epoch, before the first byte was sent
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        """The value of a header; empty if absent."""
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", self.head, re.IGNORECASE)
        return found[1].decode() if found else ""


def encode(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """The bytes of a request, prepared before the time is measured."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Exchange(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answered: asyncio.Future[tuple[int, bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._answered and not self._answered.done():
            self._answered.set_exception(ConnectionResetError("closed before the answer"))

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes, bytes]]:
        assert self._transport is not None
        self._received.clear()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        head_ends = received.find(b"\r\n\r\n")
        if head_ends < 0 or self._answered is None or self._answered.done():
            return
        head = bytes(received[:head_ends])
        status = int(head[9:12])
        length = LENGTH.search(head)
        if length is None and status not in BODILESS:
            self._answered.set_exception(ValueError(f"an answer without a length: {head!r}"))
            return
        body_ends = head_ends + 4 + (int(length[1]) if length and status not in BODILESS else 0)
        if len(received) >= body_ends:
            if CLOSES.search(head) and self._transport:
                self._transport.close()
            self._answered.set_result((status, head, bytes(received[head_ends + 4 : body_ends])))

    def close(self) -> None:
        if self._transport:
            self._transport.close()


class Client:
    """
    One keep-alive connection to a port of this machine, reopened after the server closes it.

    A request whose connection ends before the answer is sent once more; `reopened` counts these.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.reopened = 0
        self._exchange: _Exchange | None = None

    async def ask(self, request: bytes) -> Reply:
        started_at, started = time.time(), time.perf_counter()
        try:
            status, head, body = await self._once(request)
        except ConnectionResetError:
            self.reopened += 1
            self.close()
            status, head, body = await self._once(request)
        return Reply(status, head, body, started_at, time.perf_counter() - started)

    async def _once(self, request: bytes) -> tuple[int, bytes, bytes]:
        if self._exchange is None or not self._exchange.is_open:
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(_Exchange, "127.0.0.1", self.port)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._exchange.ask(request)

    def close(self) -> None:
        if self._exchange:
            self._exchange.close()
            self._exchange = None


async def send_all(port: int, requests: Iterable[bytes], *, connections: int) -> list[Reply]:
    """Send all requests over `connections` connections. Replies are in the order given."""
    waiting = iter(list(enumerate(requests)))
    replies: dict[int, Reply] = {}

    async def one_connection() -> None:
        client = Client(port)
        for at, request in waiting:
            replies[at] = await client.ask(request)
        client.close()

    await asyncio.gather(*(one_connection() for _ in range(connections)))
    return [replies[at] for at in sorted(replies)]


def ask(port: int, request: bytes) -> Reply:
    """Send one request, outside any event loop."""

    async def once() -> Reply:
        client = Client(port)
        try:
            return await client.ask(request)
        finally:
            client.close()

    return asyncio.run(once())
