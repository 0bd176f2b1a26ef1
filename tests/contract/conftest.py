"""Shared by tests of the stand-in: its process, the real SDK, a receiver of webhooks."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import razorpay
import requests

from tests.contract.targets import NAMES, STANDIN, Target, TimedSession
from tests.support.standin import StandIn


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of the contract once against each target."""
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", NAMES, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == STANDIN:
        return Target.of_standin(request.getfixturevalue("standin"))
    return Target.of_test_mode()


@pytest.fixture
def client(standin: StandIn) -> razorpay.Client:
    return razorpay.Client(
        session=TimedSession(),
        auth=(standin.key_id, standin.key_secret),
        base_url=standin.base_url,
    )


@pytest.fixture
def http(standin: StandIn) -> Callable[..., requests.Response]:
    """Plain calls under /v1/, for the statuses, headers and bodies that the SDK hides."""
    session = TimedSession()
    session.auth = (standin.key_id, standin.key_secret)

    def call(verb: str, path: str, **options: Any) -> requests.Response:
        return session.request(verb, f"{standin.base_url}/v1/{path}", **options)

    return call


@pytest.fixture
def create_order(client: razorpay.Client) -> Callable[..., dict[str, Any]]:
    def create(**fields: Any) -> dict[str, Any]:
        return client.order.create({"amount": 50_000, "currency": "INR", **fields})

    return create


class Receiver:
    """A shop's webhook address: keeps every request and answers `status`."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.status_of: Callable[[bytes], int] = lambda _body: self.status
        self.status = 200
        self.hangs_up = False  # close the connection after each answer, without announcing it
        self.answer_after: threading.Event | None = None
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        serve = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        serve.start()

    def wait_for(
        self, count: int, *, seconds: float = 5
    ) -> list[tuple[str, dict[str, str], bytes]]:
        """All requests, once there are `count`; fails if that takes longer than `seconds`."""
        with self._arrived:
            enough = self._arrived.wait_for(lambda: len(self.received) >= count, timeout=seconds)
            assert enough, f"{len(self.received)} of {count} webhooks came"
            return list(self.received)

    def names(self, count: int) -> list[str]:
        """The names of the events, as `wait_for`."""
        return [json.loads(body)["event"] for _, _, body in self.wait_for(count)]

    def close(self) -> None:
        if self.answer_after:
            self.answer_after.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._arrived:
                    receiver.received.append((self.path, dict(self.headers), body))
                    status, answer_after = receiver.status_of(body), receiver.answer_after
                    receiver._arrived.notify_all()
                if answer_after:
                    answer_after.wait(timeout=30)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.close_connection = self.close_connection or receiver.hangs_up

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def receiver(standin: StandIn) -> Iterator[Receiver]:
    """Subscribed to every event. The stand-in's time runs 1000 times faster, retries too."""
    receiver = Receiver()
    standin.settings(time_scale=1000)
    standin.subscribe(receiver.url)
    yield receiver
    receiver.close()
