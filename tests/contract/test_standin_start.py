"""Starting and stopping the stand-in."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from tests.support.standin import ROOT, StandIn


def start_badly(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.standin", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STANDIN_LATENCY_MS", "fast"),
        ("STANDIN_LATENCY_MS", "-1"),
        ("STANDIN_TIME_SCALE", "0"),
        ("STANDIN_RECEIPT_LAG_SECONDS", "nan"),
        ("STANDIN_LIST_LAG_SECONDS", "inf"),
        ("STANDIN_WEBHOOK_URLS", "localhost:8000/hook"),
        ("RAZORPAY_KEY_ID", "rzp_live_0000000000"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_itself(name, value):
    ended = start_badly(**{name: value})

    assert ended.returncode == 1
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_stops_the_start():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        standin = StandIn(port=taken.getsockname()[1])

        with pytest.raises(RuntimeError, match="in use"):
            standin.start()


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_even_while_calls_hang(asked):
    with StandIn() as standin:
        standin.set_faults({"kind": "hang", "route": "orders.list"})
        with socket.create_connection(standin.address, timeout=5) as caller:
            caller.sendall(
                b"GET /v1/orders HTTP/1.1\r\nHost: standin\r\n"
                b"Authorization: " + standin.authorization.encode() + b"\r\n\r\n"
            )
            while standin.traffic()["in_flight"] == 0:
                pass
            began = time.monotonic()
            code = standin.stop(asked)

    assert code == 0
    assert time.monotonic() - began < 1


def test_a_reset_restores_the_environments_settings():
    with StandIn(webhook_urls="http://127.0.0.1:9/hook", STANDIN_LATENCY_MS="1") as standin:
        before = standin.call("GET", "settings"), [e["url"] for e in standin.endpoints()]
        standin.settings(latency_ms=50, receipt_lag_seconds=3, auto_capture=False)
        standin.subscribe("http://127.0.0.1:9/other")
        standin.set_faults({"kind": "hang"})
        standin.script(drop_all=True)
        standin.advance(1000)

        standin.reset()

        after = standin.call("GET", "settings"), [e["url"] for e in standin.endpoints()]
        assert after == before
        assert standin.call("GET", "faults")["active"] == []
        assert not standin.call("GET", "script")["drop_all"]
        assert abs(standin.health()["now"] - time.time()) < 5


def test_the_same_seed_gives_the_same_ids():
    def first_event_id(seed: str) -> str:
        with StandIn(webhook_urls="http://127.0.0.1:9/hook", STANDIN_SEED=seed) as standin:
            return standin.endpoints()[0]["id"]

    assert first_event_id("7") == first_event_id("7") != first_event_id("8")


def test_webhooks_are_sent_to_the_addresses_of_the_environment():
    with StandIn(webhook_urls="http://127.0.0.1:9/a, http://127.0.0.1:9/b") as standin:
        assert [e["url"] for e in standin.endpoints()] == [
            "http://127.0.0.1:9/a",
            "http://127.0.0.1:9/b",
        ]


def test_unknown_control_routes_are_named(standin):
    with pytest.raises(requests.HTTPError, match="no such control route: GET nonsense"):
        standin.call("GET", "nonsense")
