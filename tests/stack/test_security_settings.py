"""The settings of a deployed shop: what it refuses, and what it does not disclose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shop.addresses import REPOSITORY

SECRETS = {
    "SECRET_KEY": "planted-secret-key-0123456789-abcdefghijklmnop-QRSTUVWXYZ-#$%",
    "RAZORPAY_KEY_SECRET": "planted-razorpay-secret",
    "RAZORPAY_WEBHOOK_SECRETS": "planted-webhook-secret-0123456789",
    "METRICS_TOKEN": "planted-metrics-token",
    "DATABASE_URL": "postgres://shop:planted-database-password@127.0.0.1:9/shop",
    "REDIS_URL": "redis://:planted-redis-password@127.0.0.1:9/0",
}
DEPLOYED = SECRETS | {
    "DEBUG": "0",
    "PUBLIC_URL": "https://shop.example",
    "RAZORPAY_KEY_ID": "rzp_test_planted",
    "RAZORPAY_BASE_URL": "https://api.razorpay.com",
    "LOG_LEVEL": "CRITICAL",
    "TRUSTED_PROXIES": "1",
    "DJANGO_SETTINGS_MODULE": "shop.settings",
}
# Asks the shop without a server, and prints what it said as JSON.
ASK = """
import json, sys
import django
django.setup()
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import path

call_command("collectstatic", interactive=False, verbosity=0)

def fail(request, secret="planted-local-variable"):
    raise RuntimeError("planted-message")

import shop.urls
shop.urls.urlpatterns[:0] = [path("fail", fail), path("api/fail/", fail)]
answers = []
for ask in json.load(sys.stdin):
    client = Client(raise_request_exception=False)
    headers = {"host": "shop.example", "x-forwarded-proto": "https"} | ask.get("headers", {})
    response = client.generic(ask.get("method", "GET"), ask["path"], headers=headers)
    answers.append({
        "status": response.status_code,
        "headers": dict(response.items()),
        "cookies": {name: dict(it) for name, it in response.cookies.items()},
        "body": response.content.decode(),
    })
print(json.dumps(answers))
"""


def run(
    *command: str, tmp_path: Path, given: str = "", **changes: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    environ = kept | DEPLOYED | {"DATA_DIR": str(tmp_path)} | changes
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=environ,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def ask(tmp_path: Path, *questions: dict, **changes: str) -> list[dict]:
    done = run("-c", ASK, tmp_path=tmp_path, given=json.dumps(questions), **changes)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_deployment_check_of_django_finds_nothing(tmp_path: Path):
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", tmp_path=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "planted-secret-key-of-31-bytes!"),
        ("TOKEN_KEY", "planted-token-key-of-31-bytes!!"),
        ("RAZORPAY_KEY_SECRET", ""),
        ("RAZORPAY_WEBHOOK_SECRETS", ""),
        ("RAZORPAY_WEBHOOK_SECRETS", ","),
        ("RAZORPAY_WEBHOOK_SECRETS", "planted-webhook-secret-31-bytes"),
        ("RAZORPAY_WEBHOOK_SECRETS", f"{SECRETS['RAZORPAY_WEBHOOK_SECRETS']},planted-old"),
        ("RAZORPAY_KEY_ID", "rzp_test_unset"),
        ("TRUSTED_PROXIES", "many"),
        ("TRUSTED_PROXIES", "-1"),
        ("HELD_UNITS_PER_BUYER", "0"),
    ],
)
def test_an_insecure_value_stops_the_start(tmp_path: Path, name: str, value: str):
    done = run("manage.py", "check", tmp_path=tmp_path, **{name: value})

    assert done.returncode != 0
    assert name in done.stderr
    assert "planted" not in done.stderr


SHOW_SCRIPT = "from django.conf import settings; print(settings.RAZORPAY_CHECKOUT_JS)"
RAZORPAYS_SCRIPT = "https://checkout.razorpay.com/v1/checkout.js"


@pytest.mark.parametrize(
    ("changes", "script"),
    [
        ({}, RAZORPAYS_SCRIPT),
        ({"RAZORPAY_BASE_URL": "http://127.0.0.1:9999"}, "http://127.0.0.1:9999/v1/checkout.js"),
        (
            {"RAZORPAY_BASE_URL": "http://standin:8010", "STANDIN_PORT": "8020"},
            "http://shop.example:8020/v1/checkout.js",
        ),
        (
            {"RAZORPAY_BASE_URL": "https://mirror.example", "RAZORPAY_KEY_ID": "rzp_live_1"},
            RAZORPAYS_SCRIPT,
        ),
    ],
)
def test_the_script_of_the_payment_form_follows_from_the_api(
    tmp_path: Path, changes: dict[str, str], script: str
):
    done = run("-c", SHOW_SCRIPT, tmp_path=tmp_path, **changes)

    assert done.stdout.strip() == script, done.stderr


def test_an_empty_number_is_its_default(tmp_path: Path):
    show = "from django.conf import settings; print(settings.GATEWAY_CONCURRENCY)"

    assert run("-c", show, tmp_path=tmp_path, GATEWAY_THREADS="").stdout.strip() == "128"


SHOW_KEY = """
from django.conf import settings
print(settings.SIMPLE_JWT["SIGNING_KEY"] == settings.SECRET_KEY)
print(settings.SIMPLE_JWT["SIGNING_KEY"])
"""


def test_tokens_have_their_own_key(tmp_path: Path):
    given = "planted-key-of-tokens-0123456789-abc"
    keys = [
        run("-c", SHOW_KEY, tmp_path=tmp_path, **changes).stdout.split()
        for changes in ({}, {}, {"SECRET_KEY": f"{SECRETS['SECRET_KEY']}2"}, {"TOKEN_KEY": given})
    ]

    assert [is_secret_key for is_secret_key, _ in keys] == ["False"] * 4
    derived, again, of_another, set_by_hand = [key for _, key in keys]
    assert derived == again != of_another
    assert len(derived) >= 32
    assert set_by_hand == given


def test_errors_disclose_nothing(tmp_path: Path):
    paths = [
        "/fail", "/api/fail/", "/nothing", "/api/nothing/", "/api/products/", "/health/ready",
        "/products/x/", "/metrics", "/ops/", "/admin/login/", "/api/schema/", "/api/cart/",
        "/api/auth/token/",
    ]  # fmt: skip
    answers = ask(tmp_path, *({"path": path} for path in paths))

    assert [it["status"] for it in answers[:6]] == [500, 500, 404, 404, 503, 503]
    for path, answer in zip(paths, answers, strict=True):
        output = json.dumps(answer)
        assert "planted" not in output.replace("rzp_test_planted", ""), path
        for word in (
            "Traceback",
            "RuntimeError",
            str(REPOSITORY),
            "django.",
            "psycopg",
            "127.0.0.1",
        ):
            assert word not in output, (path, word)
    assert json.loads(answers[0]["body"])["code"] == "internal_error"


def test_browsers_return_by_https_only(tmp_path: Path):
    secure, plain = ask(
        tmp_path,
        {"path": "/health/live"},
        {"path": "/health/live", "headers": {"x-forwarded-proto": "http"}},
    )

    assert secure["headers"]["Strict-Transport-Security"] == "max-age=31536000"
    assert plain["status"] == 200  # probes come in plain


def test_a_client_cannot_claim_to_use_https(tmp_path: Path):
    [answer] = ask(tmp_path, {"path": "/health/live"}, TRUSTED_PROXIES="0")

    assert "Strict-Transport-Security" not in answer["headers"]


def test_cookies_are_secure_and_http_only(tmp_path: Path):
    [page] = ask(tmp_path, {"path": "/admin/login/"})

    cookie = page["cookies"]["csrftoken"]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "shop.example.evil.example",
        "evil.example:443",
        "shop.example@evil.example",
        "shop.example, evil.example",
        "shop.example\\evil.example",
        "",
        "127.0.0.1",
    ],
)
def test_another_host_is_refused(tmp_path: Path, host: str):
    pages = ["/", "/api/products/", "/admin/login/", "/health/live", "/nothing"]

    answers = ask(tmp_path, *({"path": path, "headers": {"host": host}} for path in pages))

    assert {it["status"] for it in answers} == {400}
    for answer in answers:
        assert json.loads(answer["body"])["code"] == "bad_request"
        assert "evil" not in json.dumps(answer)


def test_another_host_in_a_proxys_header_is_ignored(tmp_path: Path):
    [answer] = ask(
        tmp_path,
        {"path": "/ops/", "headers": {"x-forwarded-host": "evil.example"}},
    )

    assert answer["headers"]["Location"] == "/admin/login/?next=/ops/"


def test_requests_with_an_unknown_host_header_log_no_traceback(tmp_path: Path):
    requests = json.dumps([{"path": "/api/products/", "headers": {"host": "evil.example"}}] * 3)

    done = run("-c", ASK, tmp_path=tmp_path, given=requests, LOG_LEVEL="INFO")

    output = done.stdout + done.stderr
    assert output.count('"status": 400') >= 3
    assert "Traceback" not in output
    assert "DisallowedHost" not in output
