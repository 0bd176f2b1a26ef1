"""
A payment gateway that costs almost no CPU: the routes that a checkout needs, in one process.

    python -m tests.bench.gateway PORT      # BENCH_WEBHOOK_SECRET signs the webhooks

It has routes of its own, which are not delayed: `POST /bench/setup {shop_port, delay_ms}`;
`POST /bench/pay {order_id}` captures a payment and answers after the shop has answered its webhook;
`POST /bench/burst {order_ids, connections}` does so for many and returns the time of each webhook.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.bench.wire import Client, encode, send_all

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
WEBHOOK_PATH = "/api/webhooks/razorpay/"
RUN = secrets.token_hex(3)  # makes ids unique over runs

Json = dict[str, Any]


class Gateway:
    """Orders and payments, in memory."""

    def __init__(self, *, secret: str) -> None:
        self.delay_seconds = 0.0
        self._shop_port = 0
        self._secret = secret.encode()
        self._orders: dict[str, Json] = {}
        self._payments: dict[str, Json] = {}
        self._by_receipt: dict[str, str] = {}
        self._idle: list[Client] = []

    # --- Razorpay's routes

    def razorpay(self, method: str, path: str, query: str, body: bytes) -> tuple[int, Json]:
        match (method, path.strip("/").split("/")[1:]):
            case ("POST", ["orders"]):
                return 200, self._create(json.loads(body))
            case ("GET", ["orders"]):
                order_id = self._by_receipt.get(parse_qs(query).get("receipt", [""])[0])
                return 200, _collection([self._orders[order_id]] if order_id else [])
            case ("GET", ["orders", order_id]) if order_id in self._orders:
                return 200, self._orders[order_id]
            case ("GET", ["orders", order_id, "payments"]):
                payment = self._payments.get(order_id)
                return 200, _collection([payment] if payment else [])
            case _:
                return 400, {"error": {"code": "BAD_REQUEST_ERROR", "description": "no such id"}}

    def _create(self, wanted: Json) -> Json:
        order_id = f"order_{RUN}{len(self._orders):08d}"
        self._orders[order_id] = order = {
            "id": order_id,
            "entity": "order",
            "amount": wanted["amount"],
            "amount_paid": 0,
            "amount_due": wanted["amount"],
            "currency": wanted["currency"],
            "receipt": wanted["receipt"],
            "offer_id": None,
            "status": "created",
            "attempts": 0,
            "notes": [],
            "created_at": int(time.time()),
        }
        self._by_receipt[wanted["receipt"]] = order_id
        return order

    # --- routes of the benchmark

    async def bench(self, path: str, body: Json) -> Json:
        match path:
            case "/bench/setup":
                self.delay_seconds = body["delay_ms"] / 1000
                self._shop_port = body["shop_port"]
                self._idle.clear()
                return {}
            case "/bench/pay":
                return await self._pay(body["order_id"])
            case "/bench/burst":
                return await self._burst(body["order_ids"], connections=body["connections"])
            case _:
                raise LookupError(path)

    async def _pay(self, order_id: str) -> Json:
        client = self._idle.pop() if self._idle else Client(self._shop_port)
        reply = await client.ask(self._webhook(order_id))
        self._idle.append(client)
        return {"status": reply.status, "payment_id": self._payments[order_id]["id"]}

    async def _burst(self, order_ids: list[str], *, connections: int) -> Json:
        webhooks = [self._webhook(order_id) for order_id in order_ids]
        started_at = time.time()
        replies = await send_all(self._shop_port, webhooks, connections=connections)
        return {
            "started_at": started_at,
            "ended_at": time.time(),
            "statuses": [reply.status for reply in replies],
            "seconds": [reply.seconds for reply in replies],
        }

    def _webhook(self, order_id: str) -> bytes:
        """Capture the money for this order. Returns the signed webhook request."""
        order = self._orders[order_id]
        payment = self._payments[order_id] = _payment(order)
        order |= {"status": "paid", "amount_paid": order["amount"], "amount_due": 0, "attempts": 1}
        event = {
            "entity": "event",
            "account_id": "acc_BFQ7uQEaa7j2z7",
            "event": "payment.captured",
            "contains": ["payment"],
            "payload": {"payment": {"entity": payment}},
            "created_at": int(time.time()),
        }
        body = json.dumps(event).encode()
        headers = {
            "X-Razorpay-Signature": hmac.new(self._secret, body, hashlib.sha256).hexdigest(),
            "X-Razorpay-Event-Id": f"evt_{payment['id']}",
        }
        return encode("POST", WEBHOOK_PATH, headers=headers, body=body)


def _collection(items: list[Json]) -> Json:
    return {"entity": "collection", "count": len(items), "items": items}


def _payment(order: Json) -> Json:
    return {
        "id": order["id"].replace("order_", "pay_"),
        "entity": "payment",
        "amount": order["amount"],
        "currency": order["currency"],
        "status": "captured",
        "order_id": order["id"],
        "invoice_id": None,
        "international": False,
        "method": "upi",
        "amount_refunded": 0,
        "refund_status": None,
        "captured": True,
        "description": None,
        "card_id": None,
        "bank": None,
        "wallet": None,
        "vpa": "asha@okhdfcbank",
        "email": "asha@example.com",
        "contact": "+919845012345",
        "notes": [],
        "fee": order["amount"] * 2 // 100,
        "tax": order["amount"] * 2 // 100 * 18 // 100,
        "error_code": None,
        "error_description": None,
        "error_source": None,
        "error_step": None,
        "error_reason": None,
        "acquirer_data": {"rrn": "433912345678"},
        "created_at": int(time.time()),
    }


class Server(asyncio.Protocol):
    """A keep-alive connection that handles one request after the other."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_ends := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:head_ends])
            length = LENGTH.search(head)
            body_ends = head_ends + 4 + (int(length[1]) if length else 0)
            if len(self._received) < body_ends:
                return
            body = bytes(self._received[head_ends + 4 : body_ends])
            del self._received[:body_ends]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self._handle(method, target, body)

    def _handle(self, method: str, target: str, body: bytes) -> None:
        url = urlsplit(target)
        if url.path.startswith("/bench/"):
            work = self._gateway.bench(url.path, json.loads(body))
            self._tasks.add(task := asyncio.ensure_future(self._answer_later(work)))
            task.add_done_callback(self._tasks.discard)
            return
        status, answer = self._gateway.razorpay(method, url.path, url.query, body)
        if self._gateway.delay_seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(self._gateway.delay_seconds, self._answer, status, answer)
        else:
            self._answer(status, answer)

    async def _answer_later(self, work: Awaitable[Json]) -> None:
        try:
            self._answer(200, await work)
        except (LookupError, OSError, ValueError, TimeoutError) as error:
            self._answer(500, {"error": repr(error)})

    def _answer(self, status: int, content: Json) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
        if self._transport:
            self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def serve(port: int, gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    factory: Callable[[], Server] = lambda: Server(gateway)  # noqa: E731
    server = await loop.create_server(factory, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Gateway(secret=os.environ["BENCH_WEBHOOK_SECRET"])))
