"""The web server refuses malformed requests and continues to serve."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.addresses import REPOSITORY
from workers import procfile

TIMEOUT_SECONDS = 60
HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The web server of the Procfile, with one process and without a database."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    data: Path = tmp_path_factory.mktemp("server")
    environ = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DATA_DIR": str(data), "PORT": str(port), "WEB_WORKERS": "1", "LOG_LEVEL": "CRITICAL",
        "DEBUG": "0",
    }  # fmt: skip
    command = ["sh", "-c", procfile.commands()["web"]]
    with (data / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=log, stderr=log)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not is_up(port):
            assert server.poll() is None, (data / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
        server.terminate()
        server.wait()


def is_up(port: int) -> bool:
    try:
        return send(port, LIVE + b"\r\n") == 200
    except OSError:
        return False


def send(port: int, request: bytes) -> int:
    """The status of the response; 0 if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while b"\r\n" not in answer and (more := connection.recv(65_536)):
                answer += more
        except (BrokenPipeError, ConnectionResetError):
            pass
    found = re.match(rb"HTTP/1.1 (\d{3})", answer)
    return int(found[1]) if found else 0


def many(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % n for n in range(count))


POST = b"POST /api/webhooks/razorpay/ HTTP/1.1\r\n" + HOST
REQUESTS = {
    "an address of 100 KB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a query of 100 KB": (
        b"GET /health/live?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        414,
    ),
    "two thousand fields in the query": (
        b"GET /api/products/?" + b"a=1&" * 2_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        400,
    ),
    "a thousand headers": (LIVE + many(1_000) + b"\r\n", 431),
    "a header of a megabyte": (LIVE + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
    "no host": (b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "two hosts": (LIVE + b"Host: evil.example\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "a length below nothing": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a zero byte in a header": (LIVE + b"X: a\0b\r\n\r\n", 400),
    "a header in two lines": (LIVE + b"X: a\r\n b\r\n\r\n", 400),
    "a space before the colon": (LIVE + b"Content-Length : 3\r\n\r\n", 400),
    "a method of no letters": (b"F<O /health/live HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "the hello of TLS": (b"\x16\x03\x01\x00\xff\r\n\r\n", 400),
    "a webhook of chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        401,
    ),
    "two signatures": (
        POST + b"X-Razorpay-Signature: a\r\nX-Razorpay-Signature: b\r\nContent-Length: 0\r\n\r\n",
        401,
    ),
}


def genuine(body: bytes) -> bytes:
    """The header of a webhook that is signed with the shop's secret."""
    secret = os.environ["RAZORPAY_WEBHOOK_SECRETS"].split(",")[0]
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return f"X-Razorpay-Signature: {signature}\r\n".encode()


def in_chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("length", "status"),
    [(2, 503), (100_000, 503), (1024 * 1024, 503), (1024 * 1024 + 1, 413)],
)
def test_a_genuine_webhook_in_chunks_is_read_to_the_limit(port: int, length: int, status: int):
    """503: it is genuine, and this test has no database."""
    body = b"x" * length

    assert send(port, POST + genuine(body) + in_chunks(body, 50_000)) == status


KEPT = b"Host: 127.0.0.1\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /api/nothing/", 404),
        (b"POST /api/cart/add/", 401),
        (b"POST /api/schema/", 405),
        (b"POST /api/auth/token/", 415),
        (b"GET /health/live", 200),
    ],
)
def test_an_unread_body_does_not_break_the_next_request(
    port: int, request_line: bytes, status: int
):
    body = b"x" * 60_000
    unread = b"%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (request_line, KEPT, len(body))
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        for part in (unread, body):  # as a proxy sends it
            connection.sendall(part)
        assert http_status(connection) == status
        connection.sendall(LIVE + b"\r\n")
        assert http_status(connection) == 200


def test_the_answer_to_a_large_body_closes_the_connection(port: int):
    head = b"POST /api/cart/add/ HTTP/1.1\r\n%sContent-Length: 70000\r\n\r\n" % KEPT
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(head)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.getheader("Connection")) == (413, "close")


def http_status(connection: socket.socket) -> int:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


@pytest.mark.parametrize("name", REQUESTS)
def test_a_malformed_request_is_refused(port: int, name: str):
    request, status = REQUESTS[name]

    assert send(port, request) == status
    assert send(port, LIVE + b"\r\n") == 200


def test_a_large_request_of_a_browser_is_accepted(port: int):
    request = LIVE + many(60) + b"Cookie: " + b"c" * 8_000 + b"\r\n\r\n"

    assert send(port, request) == 200
