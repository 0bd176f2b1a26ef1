"""Carries webhooks over HTTP, on connections that are kept while there is more to carry."""

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

MAX_AT_ONCE = 64
# A kept connection must not make a server that is asked to stop wait for us.
IDLE_SECONDS = 1.0

Origin = tuple[str, str, int]


class Answer(HTTPMessageDelegate):
    """The status is all that Razorpay looks at."""

    status: int | None = None
    keeps_open = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, ResponseStartLine)
        self.status = start_line.code
        self.keeps_open = headers.get("Connection", "").lower() != "close"


class HttpCourier:
    """
    One POST per attempt, no redirect followed.

    Waiting for a free place does not count towards the time limit of an attempt.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tcp = TCPClient()
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._kept: dict[Origin, list[IOStream]] = defaultdict(list)
        self._under_way: set[asyncio.Task[None]] = set()

    def process(
        self, delivery: Delivery, *, timeout_seconds: float, done: Callable[[Attempt], None]
    ) -> None:
        task = asyncio.create_task(self._carry(delivery, timeout_seconds, done))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def drop_all(self) -> None:
        """Forget what is under way; nothing of it is reported any more."""
        for task in self._under_way:
            task.cancel()

    async def _carry(
        self, delivery: Delivery, timeout_seconds: float, done: Callable[[Attempt], None]
    ) -> None:
        async with self._places:
            at, began = self._clock.now(), time.monotonic()
            status, error = None, None
            try:
                async with asyncio.timeout(timeout_seconds):
                    status = await self._post(delivery)
            except TimeoutError:
                error = f"no answer in {timeout_seconds:g} s"
            except (OSError, StreamClosedError) as problem:
                error = str(problem)
        done(Attempt(at, status, error, round((time.monotonic() - began) * 1000, 1)))

    async def _post(self, delivery: Delivery) -> int | None:
        url = urlsplit(delivery.endpoint.url)
        while kept := self._kept[_origin(url)]:
            try:
                return await self._exchange(kept.pop(), url, delivery)
            except StreamClosedError:
                continue  # the server had hung up meanwhile; that is no answer to this event
        return await self._exchange(await self._connect(url), url, delivery)

    async def _connect(self, url: SplitResult) -> IOStream:
        _, host, port = _origin(url)
        secure = ssl.create_default_context() if url.scheme == "https" else None
        stream = await self._tcp.connect(host, port, ssl_options=secure)
        stream.set_nodelay(True)
        return stream

    async def _exchange(self, stream: IOStream, url: SplitResult, delivery: Delivery) -> int | None:
        """Send, and give the status. :raises StreamClosedError, OSError: no answer, or no HTTP."""
        answer = Answer()
        connection = HTTP1Connection(stream, is_client=True)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        body = delivery.event.body
        headers = HTTPHeaders(delivery.headers())
        headers["Host"] = url.netloc.rpartition("@")[2]
        headers["Content-Length"] = str(len(body))
        try:
            connection.write_headers(RequestStartLine("POST", target, "HTTP/1.1"), headers, body)
            connection.finish()
            is_open = await connection.read_response(answer)
        except BaseException:
            stream.close()
            raise
        if answer.status is None:
            stream.close()
            raise OSError("the answer is not HTTP")
        if is_open and answer.keeps_open:
            connection.detach()
            self._keep(_origin(url), stream)
        else:
            stream.close()
        return answer.status

    def _keep(self, origin: Origin, stream: IOStream) -> None:
        self._kept[origin].append(stream)
        asyncio.get_running_loop().call_later(IDLE_SECONDS, self._let_go, origin, stream)

    def _let_go(self, origin: Origin, stream: IOStream) -> None:
        if stream in self._kept[origin]:
            self._kept[origin].remove(stream)
            stream.close()


def _origin(url: SplitResult) -> Origin:
    return url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
