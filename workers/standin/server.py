"""HTTP for the routes of the API: who may call, trouble on request, one write per answer."""

import asyncio
import base64
import binascii
import contextlib
import socket
import struct
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from workers.standin import api
from workers.standin.errors import ApiError, NoRoute, refusal, unauthorized
from workers.standin.faults import Fault, reply_of
from workers.standin.replies import NO_ROUTE, Reply, json_reply, refused
from workers.standin.routing import Route, UnknownPath, WrongVerb
from workers.standin.standin import Standin

SLOW_BODY_CHUNKS = 10


class Handler(RequestHandler):
    """What every handler of the stand-in shares."""

    standin: Standin

    def initialize(self, standin: Standin) -> None:
        self.standin = standin

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def compute_etag(self) -> str | None:
        return None  # nobody asks, and it would cost a digest per answer

    def put_head(self, reply: Reply) -> None:
        self.set_status(reply.status)
        self.set_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.set_header(name, value)

    def answer(self, reply: Reply) -> None:
        self.put_head(reply)
        self.finish(reply.body or None)


class Gone(Exception):
    """The connection is no more, by the caller's doing or ours."""


class ApiHandler(Handler):
    """All of /v1 that wants the key and its secret."""

    _caller_gone: asyncio.Event | None = None  # made by those who wait

    def on_connection_close(self) -> None:
        if self._caller_gone:
            self._caller_gone.set()

    async def serve(self, path: str) -> None:
        traffic = self.standin.traffic
        traffic.begin()
        name, outcome = "unknown", "gone"
        try:
            route, ids = api.ROUTER.find(self.request.method or "", path)
            name = route.name
            reply = await self._visit(route, ids)
            outcome = str(reply.status)
            self.answer(reply)
        except UnknownPath:
            outcome = "404"
            self.answer(NO_ROUTE)
        except WrongVerb:
            outcome = "400"
            self.answer(refused(refusal("wrong_url")))
        except ApiError as error:
            outcome = str(error.status)
            self.answer(refused(error))
        except Gone as reason:
            outcome = str(reason) or outcome
        finally:
            traffic.end(name, outcome)

    get = post = patch = put = delete = serve

    async def _visit(self, route: Route[api.Answer], ids: tuple[str, ...]) -> Reply:
        """One call: trouble before, the work, latency, trouble after."""
        standin = self.standin
        self._authenticate()
        fault = standin.faults.take(route.name, ids)
        if fault and fault.when == "before":
            if reply := await self._strike(fault, None):
                return reply
            fault = None
        with self._alone(route, ids):
            reply = self._work(route, ids)
            if standin.behaviour.latency_ms:
                await asyncio.sleep(standin.behaviour.latency_ms / 1000)
            if fault:
                return await self._strike(fault, reply) or reply
            return reply

    def _authenticate(self) -> None:
        given = self.request.headers.get("Authorization", "")
        if given != self.standin.authorization:
            raise unauthorized(key_known=_key_id_in(given) == self.standin.settings.key_id)

    @contextlib.contextmanager
    def _alone(self, route: Route[api.Answer], ids: tuple[str, ...]) -> Any:
        """
        Let no second operation on the same payment in while the first is unanswered.

        :raises ApiError: 409 for the same idempotency key, 400 for any other operation.
        """
        if not route.exclusive:
            yield
            return
        busy = self.standin.busy
        key = self.request.headers.get("X-Refund-Idempotency")
        marks = {ids[0]} | ({f"key {key}"} if key else set())
        if key and f"key {key}" in busy:
            raise refusal("refund_key_in_flight", status=409)
        if ids[0] in busy:
            raise refusal("operation_in_progress")
        busy |= marks
        try:
            yield
        finally:
            busy -= marks

    def _work(self, route: Route[api.Answer], ids: tuple[str, ...]) -> Reply:
        request: HTTPServerRequest = self.request
        call = api.Call(self.standin.world, ids, request.query, request.body, request.headers)
        try:
            return json_reply(route.function(call))
        except NoRoute:
            return NO_ROUTE
        except ApiError as error:
            return refused(error)

    # Trouble

    async def _strike(self, fault: Fault, reply: Reply | None) -> Reply | None:
        """
        Let `fault` happen. `None` means: go on as if nothing had been.

        :raises Gone: there is nobody left to answer.
        """
        match fault.kind:
            case "stall":
                # The work goes on even if the caller has hung up: that is the point of it.
                await self._wait(fault.seconds)
                return None
            case "hang":
                await self._wait(fault.seconds, unless_gone=True)
                self._close()
                raise Gone("hang")
            case "reset":
                self._close(abruptly=True)
                raise Gone("reset")
            case "slow_body" | "truncated_body":
                assert reply is not None
                await self._send_badly(fault, reply)
                raise Gone(fault.kind)
            case _:
                return reply_of(fault)

    async def _wait(self, seconds: float, *, unless_gone: bool = False) -> None:
        """Wait so long, or until reset, or until the caller is gone if that is asked."""
        ends = [asyncio.create_task(self.standin.released.wait())]
        if unless_gone:
            self._caller_gone = self._caller_gone or asyncio.Event()
            ends.append(asyncio.create_task(self._caller_gone.wait()))
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def _send_badly(self, fault: Fault, reply: Reply) -> None:
        """Drip the body, or stop half-way with the connection closed."""
        self.put_head(reply)
        self.set_header("Content-Length", str(len(reply.body)))
        size = max(len(reply.body) // SLOW_BODY_CHUNKS, 1)
        chunks = [reply.body[at : at + size] for at in range(0, len(reply.body), size)]
        if fault.kind == "truncated_body":
            chunks = chunks[: len(chunks) // 2]
        try:
            for chunk in chunks:
                self.write(chunk)
                await self.flush()
                if fault.kind == "slow_body":
                    await self._wait(fault.seconds / len(chunks), unless_gone=True)
        except StreamClosedError:
            return
        if fault.kind == "truncated_body":
            self._close()

    def _close(self, *, abruptly: bool = False) -> None:
        """Close without an answer; abruptly, the caller sees a reset."""
        stream = self.detach()
        if abruptly and stream.socket is not None:
            no_linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        stream.close()


def _key_id_in(authorization: str) -> str | None:
    try:
        decoded = base64.b64decode(authorization.removeprefix("Basic "), validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded.partition(b":")[0].decode(errors="replace")
