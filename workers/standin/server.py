"""HTTP for the routes of the API: authentication, faults, and one write per response."""

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
    """Base of every handler of the stand-in."""

    standin: Standin

    def initialize(self, standin: Standin) -> None:
        self.standin = standin

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def compute_etag(self) -> str | None:
        return None  # no client uses it, and it would cost a digest per response

    def put_head(self, reply: Reply) -> None:
        self.set_status(reply.status)
        self.set_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.set_header(name, value)

    def answer(self, reply: Reply) -> None:
        self.put_head(reply)
        self.finish(reply.body or None)


class Disconnected(Exception):
    """The connection was closed, by the caller or by a fault."""


class ApiHandler(Handler):
    """The routes under /v1 that require the key and its secret."""

    _caller_gone: asyncio.Event | None = None  # made by a fault that waits

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
            reply = await self._handle(route, ids)
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
        except Disconnected as reason:
            outcome = str(reason) or outcome
        finally:
            traffic.end(name, outcome)

    get = post = patch = put = delete = serve

    async def _handle(self, route: Route[api.RouteFunction], ids: tuple[str, ...]) -> Reply:
        """One call: a fault before the work, the work, the latency, a fault after the work."""
        standin = self.standin
        self._authenticate()
        fault = standin.faults.take(route.name, ids)
        if fault and fault.when == "before":
            if reply := await self._apply_fault(fault, None):
                return reply
            fault = None
        with self._exclusively(route, ids):
            reply = self._work(route, ids)
            if standin.behaviour.latency_ms:
                await asyncio.sleep(standin.behaviour.latency_ms / 1000)
            if fault:
                return await self._apply_fault(fault, reply) or reply
            return reply

    def _authenticate(self) -> None:
        given = self.request.headers.get("Authorization", "")
        if given != self.standin.authorization:
            raise unauthorized(key_known=_key_id_in(given) == self.standin.settings.key_id)

    @contextlib.contextmanager
    def _exclusively(self, route: Route[api.RouteFunction], ids: tuple[str, ...]) -> Any:
        """
        Refuse a second operation on a payment while the first has no answer.

        :raises ApiError: 409 for the same idempotency key, 400 for another operation.
        """
        if not route.exclusive:
            yield
            return
        busy = self.standin.busy
        key = self.request.headers.get("X-Refund-Idempotency")
        keys = {ids[0]} | ({f"key {key}"} if key else set())
        if key and f"key {key}" in busy:
            raise refusal("refund_key_in_flight", status=409)
        if ids[0] in busy:
            raise refusal("operation_in_progress")
        busy |= keys
        try:
            yield
        finally:
            busy -= keys

    def _work(self, route: Route[api.RouteFunction], ids: tuple[str, ...]) -> Reply:
        request: HTTPServerRequest = self.request
        call = api.Call(self.standin.account, ids, request.query, request.body, request.headers)
        try:
            return json_reply(route.function(call))
        except NoRoute:
            return NO_ROUTE
        except ApiError as error:
            return refused(error)

    # Faults

    async def _apply_fault(self, fault: Fault, reply: Reply | None) -> Reply | None:
        """
        Apply `fault`. Returns its response; None: continue without it.

        :raises Disconnected: the connection was closed.
        """
        match fault.kind:
            case "stall":
                # The work is done even if the caller has hung up: that is its purpose.
                await self._wait(fault.seconds)
                return None
            case "hang":
                await self._wait(fault.seconds, unless_gone=True)
                self._close()
                raise Disconnected("hang")
            case "reset":
                self._close(abruptly=True)
                raise Disconnected("reset")
            case "slow_body" | "truncated_body":
                assert reply is not None
                await self._send_badly(fault, reply)
                raise Disconnected(fault.kind)
            case _:
                return reply_of(fault)

    async def _wait(self, seconds: float, *, unless_gone: bool = False) -> None:
        """Wait `seconds`, or until a reset, or with `unless_gone` until the caller has gone."""
        ends = [asyncio.create_task(self.standin.waits_ended.wait())]
        if unless_gone:
            self._caller_gone = self._caller_gone or asyncio.Event()
            ends.append(asyncio.create_task(self._caller_gone.wait()))
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def _send_badly(self, fault: Fault, reply: Reply) -> None:
        """Send the body slowly, or send half of it and close the connection."""
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
        """Close without a response. With `abruptly` the caller sees a reset."""
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
