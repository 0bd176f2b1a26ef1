"""Sends webhooks over HTTP, on connections that are kept for a short time."""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from workers.standin.clock import Clock
from workers.standin.webhooks import Attempt, Delivery

MAX_CONCURRENT = 64
# A short time, so that a server that stops does not wait for our idle connections.
IDLE_SECONDS = 1.0

Origin = tuple[str, str, int]


class ResponseStatus(HTTPMessageDelegate):
    """Reads the status of a response: Razorpay looks at nothing else."""

    status: int | None = None
    keeps_open = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, ResponseStartLine)
        self.status = start_line.code
        self.keeps_open = headers.get("Connection", "").lower() != "close"


class HttpSender:
    """
    One POST per attempt; redirects are not followed.

    The wait for a free slot does not count towards the timeout of an attempt.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tcp = TCPClient()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._idle: dict[Origin, list[IOStream]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()

    def send(
        self, delivery: Delivery, *, timeout_seconds: float, done: Callable[[Attempt], None]
    ) -> None:
        task = asyncio.create_task(self._send(delivery, timeout_seconds, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel_all(self) -> None:
        """Cancel all attempts. None of them is reported."""
        for task in self._tasks:
            task.cancel()

    async def _send(
        self, delivery: Delivery, timeout_seconds: float, done: Callable[[Attempt], None]
    ) -> None:
        async with self._slots:
            at, started = self._clock.now(), time.monotonic()
            status, error = None, None
            try:
                async with asyncio.timeout(timeout_seconds):
                    status = await self._post(delivery)
            except TimeoutError:
                error = f"no answer in {timeout_seconds:g} s"
            except (OSError, StreamClosedError) as problem:
                error = str(problem)
        done(Attempt(at, status, error, round((time.monotonic() - started) * 1000, 1)))

    async def _post(self, delivery: Delivery) -> int | None:
        url = urlsplit(delivery.endpoint.url)
        while idle := self._idle[_origin(url)]:
            try:
                return await self._exchange(idle.pop(), url, delivery)
            except StreamClosedError:
                continue  # the server has closed this idle connection: try another one
        return await self._exchange(await self._connect(url), url, delivery)

    async def _connect(self, url: SplitResult) -> IOStream:
        _, host, port = _origin(url)
        secure = ssl.create_default_context() if url.scheme == "https" else None
        stream = await self._tcp.connect(host, port, ssl_options=secure)
        stream.set_nodelay(True)
        return stream

    async def _exchange(self, stream: IOStream, url: SplitResult, delivery: Delivery) -> int | None:
        """Send and return the status. :raises StreamClosedError, OSError: no answer, or no HTTP."""
        response = ResponseStatus()
        connection = HTTP1Connection(stream, is_client=True)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        body = delivery.event.body
        headers = HTTPHeaders(delivery.headers())
        headers["Host"] = url.netloc.rpartition("@")[2]
        headers["Content-Length"] = str(len(body))
        try:
            connection.write_headers(RequestStartLine("POST", target, "HTTP/1.1"), headers, body)
            connection.finish()
            is_open = await connection.read_response(response)
        except BaseException:
            stream.close()
            raise
        if response.status is None:
            stream.close()
            raise OSError("the answer is not HTTP")
        if is_open and response.keeps_open:
            connection.detach()
            self._keep(_origin(url), stream)
        else:
            stream.close()
        return response.status

    def _keep(self, origin: Origin, stream: IOStream) -> None:
        self._idle[origin].append(stream)
        asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle, origin, stream)

    def _close_idle(self, origin: Origin, stream: IOStream) -> None:
        if stream in self._idle[origin]:
            self._idle[origin].remove(stream)
            stream.close()


def _origin(url: SplitResult) -> Origin:
    return url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
