"""The proxy of compose in front of the real web process."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from redis import Redis

from tests.support.buyers import Buyer, until
from tests.support.process_settings import UNSET, changed
from tests.support.proxy import Proxy, free_ports
from tests.support.running_shop import MUG
from workers.stack.stack import Stack

GUESTS = 60
WAIT_SECONDS = 20
BEFORE_TIMEOUT_SECONDS = 8  # client_body_timeout is 10
SLOW_BODIES = 100  # 24 to 60 stop a web process without a proxy
ADMIN = "admin@pakka.local"


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(4)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ports: list[int]) -> Iterator[Stack]:
    """Web and Flower with the settings of compose."""
    own_secrets = ("RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRETS")
    environ = (
        UNSET
        | dict.fromkeys(own_secrets, "")
        | {
            "DEBUG": "0",
            "PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
            "TRUSTED_PROXIES": "1",
            "FLOWER_URL_PREFIX": "flower",
        }
    )
    # A day: a window of a minute could end during a test.
    environ |= changed(THROTTLE_RATES={"guest": f"{GUESTS}/day"})
    names = ["web", "flower"]
    with Stack(tmp_path_factory.mktemp("stack"), environ, processes=names) as running:
        yield running


def make_proxy(main: str, stack: Stack, ports: list[int], make: Path | None = None) -> Proxy:
    directory = make or Path(tempfile.mkdtemp(prefix="proxy-"))
    web, flower = stack.environment["PORT"], stack.environment["FLOWER_PORT"]
    return Proxy(directory, main, web=int(web), flower=int(flower), ports=(ports[0], ports[1]))


@pytest.fixture(scope="module")
def proxy(
    stack: Stack, ports: list[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with make_proxy("plain.conf", stack, ports, tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture
def url(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.port}"


@pytest.fixture
def empty_throttles(stack: Stack) -> Iterator[None]:
    """The throttles are empty at the start of this test and of the next one."""
    with Redis.from_url(stack.services.redis_url) as redis:
        redis.flushall()
        yield
        redis.flushall()


def get(url: str, **options: object) -> requests.Response:
    return requests.get(url, timeout=WAIT_SECONDS, allow_redirects=False, **options)


# --- refused requests ---


def test_slow_bodies_do_not_stop_the_shop(proxy: Proxy, url: str):
    """Without a proxy, a thread of the web process reads a body without a time limit."""
    begun = (
        b"POST /api/webhooks/razorpay/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"
    )
    with ExitStack() as open_until_the_end:
        for _ in range(SLOW_BODIES):
            slow = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_SECONDS)
            open_until_the_end.enter_context(slow)
            slow.sendall(begun)

        live = requests.get(f"{url}/health/live", timeout=BEFORE_TIMEOUT_SECONDS)
        assert live.status_code == 200


def test_a_forged_address_is_no_new_client_for_throttles(url: str, empty_throttles: None):
    statuses = [
        requests.post(
            f"{url}/api/auth/guest/",
            headers={"X-Forwarded-For": f"10.0.0.{number}", "X_Forwarded_For": f"10.1.0.{number}"},
            timeout=WAIT_SECONDS,
        ).status_code
        for number in range(GUESTS + 1)
    ]

    assert statuses == [201] * GUESTS + [429]


def test_a_request_cannot_claim_to_be_https(url: str):
    answer = get(f"{url}/health/live", headers={"X-Forwarded-Proto": "https"})

    assert "Strict-Transport-Security" not in answer.headers


def test_a_body_that_is_too_large_gets_an_error_in_the_format_of_the_api(url: str):
    answer = requests.post(
        f"{url}/api/auth/token/", data=b"x" * (1024 * 1024 + 1), timeout=WAIT_SECONDS
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_metrics_are_not_public(stack: Stack, url: str):
    assert get(f"{stack.base_url}/metrics").status_code == 403
    assert get(f"{url}/metrics").status_code == 404


# --- forwarded requests ---


def test_a_webhook_in_chunks_arrives_whole(stack: Stack, url: str):
    secret = stack.environment["RAZORPAY_WEBHOOK_SECRETS"]
    event = {"event": "payment.captured", "payload": {}, "padding": "x" * 100_000}
    body = json.dumps(event).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

    answer = requests.post(
        f"{url}/api/webhooks/razorpay/",
        data=iter([body[:10], body[10:70_000], body[70_000:]]),
        headers={"X-Razorpay-Signature": signature, "X-Razorpay-Event-Id": uuid4().hex,
                 "Content-Type": "application/json"},
        timeout=WAIT_SECONDS,
    )  # fmt: skip

    assert answer.request.headers["Transfer-Encoding"] == "chunked"
    assert answer.status_code == 200


def test_polling_gets_304_through_the_proxy(url: str):
    buyer = Buyer.arrive(url, sku=MUG)
    checkout = buyer.post()
    status = f"{url}{checkout['links']['self']}"
    first = buyer.http.get(status, timeout=WAIT_SECONDS)

    again = buyer.http.get(
        status, headers={"If-None-Match": first.headers["ETag"]}, timeout=WAIT_SECONDS
    )

    assert not first.headers["ETag"].startswith("W/")
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Retry-After"] == first.headers["Retry-After"]


def test_each_security_header_is_sent_once(proxy: Proxy):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=WAIT_SECONDS)
    connection.request("GET", "/health/live")
    answer = connection.getresponse()
    names = [name.lower() for name, _ in answer.getheaders()]

    for name in ("content-security-policy", "x-frame-options", "x-content-type-options",
                 "referrer-policy", "cross-origin-opener-policy", "x-request-id"):  # fmt: skip
        assert names.count(name) == 1, name
    assert answer.headers["Server"] == "nginx"


def test_an_unavailable_web_process_gives_503_with_retry_after(stack: Stack, ports: list[int]):
    [nobody] = free_ports(1)
    directory = Path(tempfile.mkdtemp(prefix="proxy-"))
    alone = Proxy(directory, "plain.conf", web=nobody, flower=nobody, ports=(ports[2], ports[3]))
    with alone:
        answer = get(f"http://127.0.0.1:{alone.port}/api/cart/")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_with_tls_the_shop_sees_https_and_plain_requests_are_redirected(
    stack: Stack, ports: list[int], tmp_path: Path
):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    with make_proxy("tls.conf", stack, ports[2:], tmp_path) as proxy:
        secure = get(
            f"https://127.0.0.1:{proxy.tls_port}/health/live", verify=tmp_path / "fullchain.pem"
        )
        plain = get(f"http://127.0.0.1:{proxy.port}/cart/?a=1")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", proxy.tls_port)) as connection,
            pytest.raises(ssl.SSLError),
        ):
            old.wrap_socket(connection)

    assert secure.headers["Strict-Transport-Security"]
    assert plain.status_code == 301
    assert plain.headers["Location"] == "https://127.0.0.1/cart/?a=1"


def test_a_request_leaves_one_line_of_json_without_its_query(proxy: Proxy, url: str):
    get(f"{url}/cart/?token=planted", headers={"X-Request-Id": 'a"b'})

    # nginx writes it after the response
    until(lambda: '"path":"/cart/"' in proxy.log.read_text())
    lines = map(json.loads, proxy.log.read_text().splitlines())
    [line] = [line for line in lines if line["path"] == "/cart/"]
    assert (line["status"], line["request_id"]) == ("200", 'a"b')
    assert "planted" not in proxy.log.read_text()


# --- Flower, for staff ---


def staff(stack: Stack, url: str) -> requests.Session:
    """A session that is signed in to the admin."""
    session = requests.Session()
    session.trust_env = False
    form = session.get(f"{url}/admin/login/", timeout=WAIT_SECONDS)
    assert form.status_code == 200
    answer = session.post(
        f"{url}/admin/login/",
        {
            "username": ADMIN, "password": stack.environment["ADMIN_PASSWORD"],
            "csrfmiddlewaretoken": session.cookies["csrftoken"],
        },
        headers={"Referer": f"{url}/admin/login/"}, timeout=WAIT_SECONDS, allow_redirects=False,
    )  # fmt: skip
    assert answer.status_code == 302
    return session


def test_anonymous_users_are_sent_to_the_login_before_flower_gets_a_password(
    stack: Stack, url: str
):
    login = tuple(stack.environment["FLOWER_BASIC_AUTH"].split(":", 1))

    for path in ("/flower/", "/flower/workers", "/grafana/"):
        answer = get(url + path, auth=login)
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"/admin/login/?next={path}"


def test_staff_reach_flower_with_its_own_login_and_in_no_frame(stack: Stack, url: str):
    session = staff(stack, url)
    assert session.get(f"{url}/flower/", timeout=WAIT_SECONDS).status_code == 401

    session.auth = tuple(stack.environment["FLOWER_BASIC_AUTH"].split(":", 1))
    page = session.get(f"{url}/flower/", timeout=WAIT_SECONDS)
    script = session.get(f"{url}/flower/static/js/flower.js", timeout=WAIT_SECONDS)

    assert (page.status_code, script.status_code) == (200, 200)
    assert "Flower" in page.text
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["metrics", "healthcheck", "%6detrics", "../flower/metrics"])
def test_flower_s_pages_without_a_login_are_blocked(stack: Stack, url: str, path: str):
    direct = stack.environment["FLOWER_PORT"]
    assert get(f"http://127.0.0.1:{direct}/flower/metrics").status_code == 200  # requires no login

    connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"))
    connection.request("GET", f"/flower/{path}", headers=dict(staff(stack, url).headers))
    assert connection.getresponse().status == 404


def test_passwords_of_flower_cannot_be_guessed_fast(stack: Stack, url: str):
    session = staff(stack, url)
    session.auth = ("ops", "wrong")

    statuses = [session.get(f"{url}/flower/", timeout=WAIT_SECONDS).status_code for _ in range(100)]

    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
