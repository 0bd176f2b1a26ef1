"""Whatever a client sends, it gets an answer in our shape, and never a fault of ours."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings as ours
from django.http import HttpResponse
from rest_framework_simplejwt.tokens import AccessToken

from shop.accounts import User
from shop.api.limits import Throttle
from shop.checkout.jobs import CheckoutJob
from shop.wsgi import application
from tests.support.api import POST_CHECKOUT, Caller, granted, one_connection, order_form
from tests.support.shop import ADDRESS, make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "unhurried")]

JSON = "application/json"
LONG_DIGITS = "9" * 5000  # more than Python turns into a number

# (method, path, a body that would do)
INPUTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/auth/register/", {"email": "asha@example.com", "password": "long enough 1"}),
    ("POST", "/api/auth/token/", {"email": "asha@example.com", "password": "long enough 1"}),
    ("POST", "/api/auth/token/refresh/", {"refresh": "a.b.c"}),
    ("POST", "/api/cart/add/", {"product_id": 1, "variant_id": 1, "quantity": 1}),
    ("PATCH", "/api/cart/items/1/", {"quantity": 1}),
    (
        "POST",
        "/api/cart/sync-events/",
        {"kind": "reload", "cart_id": 1, "cart_version": 1, "detail": "x"},
    ),
    (
        "POST",
        POST_CHECKOUT,
        order_form(
            billing_address=ADDRESS, cart_id=1, cart_version=1, expected_total_paise=2248896
        ),
    ),
    (
        "POST",
        "/api/checkouts/{checkout}/confirm/",
        {
            "razorpay_payment_id": "pay_1",
            "razorpay_order_id": "order_1",
            "razorpay_signature": "0" * 64,
        },
    ),
]
# Those that look at no body must not stumble over one.
BODILESS = [
    ("POST", "/api/auth/guest/"),
    ("DELETE", "/api/cart/"),
    ("POST", "/api/checkouts/{checkout}/cancel/"),
    ("POST", "/api/checkouts/{checkout}/callback/"),
    ("POST", "/api/webhooks/razorpay/"),
]
INPUT_PATHS = [(method, path) for method, path, _ in INPUTS]
PRIVATE_PATHS = [
    ("GET", "/api/cart/"),
    ("DELETE", "/api/cart/"),
    ("DELETE", "/api/cart/items/1/"),
    ("GET", "/api/checkouts/"),
    ("GET", "/api/checkouts/{checkout}/"),
    ("POST", "/api/checkouts/{checkout}/cancel/"),
    ("GET", "/api/orders/"),
    ("GET", "/api/orders/PK-261122-0000000000/"),
    *[(method, path) for method, path in INPUT_PATHS if "/auth/" not in path],
]

STRANGE_VALUES = [
    None,
    True,
    [],
    {},
    [[[]]],
    {"\x00": "\x00"},
    "",
    " ",
    "\x00",
    "\ud800",
    "x" * 20_000,
    "²",
    "١",
    "%00",
    "a@b.c\r\nBcc: d@e.f",
    "\u0130" * 200 + "@example.com",  # twice as long in lower case
    LONG_DIGITS,
    -1,
    0,
    2**31,
    2**63,
    10**400,
    1.5,
    1e308,
]
STRANGE_BODIES = [
    b"",
    b"{",
    b"{}",
    b"[]",
    b'"text"',
    b"null",
    b"5",
    b"true",
    b"NaN",
    b'{"quantity": Infinity, "refresh": NaN}',
    b'{"quantity": 1e999, "product_id": 1e999}',
    b'{"product_id": ' + LONG_DIGITS.encode() + b"}",
    b"\xff\xfe\x00",
    b'{"kind": "\xff"}',
    "\ufeff{}".encode(),
    '{"kind": "reload"}'.encode("utf-16"),
    b"[" * 50_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"shipping_address":' * 3_000 + b"1" + b"}" * 3_000,
    b"\x00" * 100,
    b"a=1&b=2",
]
OTHER_TYPES = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "application/xml",
    "",
    "nonsense",
    "/",
    ";",
    "application/json/json",
]
STRANGE_CHARSETS = [
    "utf-16", "latin-1", "zlib", "hex", "base64", "rot13", "idna", "undefined", "unicode_escape",
    "mbcs", "nonsense", "",
]  # fmt: skip


@pytest.fixture
def unhurried(monkeypatch, settings):
    """No limit of pace, and hashing that costs nothing."""
    for scope in Throttle.THROTTLE_RATES:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "100000/day")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def buyer() -> Caller:
    """With a mug in the cart and a checkout."""
    buyer = Caller.guest()
    buyer.add(make_variant())
    return buyer


@pytest.fixture
def fill(buyer) -> Callable[[str], str]:
    checkout_id = granted(buyer.post_checkout(), 202)["id"]
    return lambda path: path.format(checkout=checkout_id)


def assert_answered(response: HttpResponse, what: object) -> None:
    """No fault of ours, and a refusal has our shape."""
    assert response.status_code < 500, what
    if response.status_code >= 400:
        assert_shape(response.status_code, response.content, what)


def assert_shape(status_code: int, content: bytes, what: object) -> None:
    refusal = json.loads(content)
    assert {"code", "error", "message", "details"} <= set(refusal), what
    assert refusal["error"] == refusal["message"] != "", what
    assert isinstance(refusal["details"], dict), what
    assert isinstance(refusal["code"], str), what


@pytest.mark.parametrize(("method", "path", "good"), INPUTS)
def test_every_field_may_hold_anything(buyer, fill, method, path, good):
    for field in good:
        for value in STRANGE_VALUES:
            body = json.dumps(good | {field: value}).encode()

            response = buyer.send(method, fill(path), body, JSON)

            assert_answered(response, (field, value))


@pytest.mark.parametrize("field", ADDRESS)
def test_every_field_of_an_address_may_hold_anything(buyer, field):
    for value in STRANGE_VALUES:
        address = ADDRESS | {field: value}

        response = buyer.post_checkout(shipping_address=address, billing_address=address)

        assert_answered(response, value)


@pytest.mark.parametrize(("method", "path"), INPUT_PATHS)
def test_a_body_that_is_no_object_is_refused(buyer, fill, method, path):
    for body in STRANGE_BODIES:
        response = buyer.send(method, fill(path), body, JSON)

        assert response.status_code == 400, (body[:40], response.content)
        assert_answered(response, body[:40])


@pytest.mark.parametrize(("method", "path"), BODILESS)
def test_who_wants_no_body_does_not_stumble_over_one(buyer, fill, method, path):
    for body in STRANGE_BODIES:
        assert_answered(buyer.send(method, fill(path), body, JSON), body[:40])


@pytest.mark.parametrize(("method", "path", "good"), INPUTS)
def test_a_body_of_another_type_is_refused(buyer, fill, method, path, good):
    for content_type in OTHER_TYPES:
        response = buyer.send(method, fill(path), json.dumps(good).encode(), content_type)

        assert response.status_code == 415, (content_type, response.content)
        assert_answered(response, content_type)


@pytest.mark.parametrize(("method", "path"), PRIVATE_PATHS)
@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "not_authenticated"),
        ("Bearer", "bad_authorization_header"),
        ("Basic YTpi", "not_authenticated"),
        ("Bearer a b", "bad_authorization_header"),
        ("Bearer garbage", "token_not_valid"),
        ("Bearer é", "token_not_valid"),
        ("Bearer " + "x" * 5000, "token_not_valid"),
    ],
)
def test_without_a_good_token_nothing_private_is_shown(fill, method, path, header, code):
    headers = {"Authorization": header} if header else {}

    response = Caller().send(method, fill(path), b"{}", JSON, **headers)

    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert_answered(response, header)


def expired(token: AccessToken) -> str:
    token.set_exp(lifetime=-timedelta(seconds=1))
    return str(token)


@pytest.mark.parametrize(
    "forge",
    [
        expired,
        lambda token: jwt.encode(token.payload, None, algorithm="none"),
        lambda token: jwt.encode(token.payload, "another key" * 5, algorithm="HS256"),
        lambda token: jwt.encode(
            {key: value for key, value in token.payload.items() if key != "user_id"},
            ours.SECRET_KEY,
            algorithm="HS256",
        ),
        lambda token: jwt.encode(
            token.payload | {"user_id": "²"}, ours.SECRET_KEY, algorithm="HS256"
        ),
        lambda token: str(token)[:-2],
        lambda token: str(token).replace(".", "..", 1),
    ],
)
def test_a_token_that_is_not_as_we_signed_it_is_refused(buyer, forge):
    forged = Caller(forge(AccessToken(buyer.access)))

    response = forged.get("/api/cart/")

    assert (response.status_code, response.json()["code"]) == (401, "token_not_valid")


@pytest.mark.parametrize(("method", "path"), PRIVATE_PATHS)
def test_the_token_of_a_deleted_user_shows_nothing_and_breaks_nothing(method, path):
    ghost = Caller.guest()
    User.objects.filter(pk=ghost.user_id).delete()

    response = ghost.send(method, path.format(checkout=uuid.uuid4()), b"{}", JSON)

    assert_answered(response, path)
    if response.status_code == 200:
        assert response.json()["results"] == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nothing/",
        "cart",
        "products/0/",
        "products/-1/",
        "products/abc/",
        "products/1.5/",
        "products/%00/",
        "products/99999999999999999999/",
        f"products/{LONG_DIGITS}/",
        "cart/items/0/",
        "cart/items/99999999999999999999/",
        f"cart/items/{LONG_DIGITS}/",
        "checkouts/1/",
        "checkouts/not-a-uuid/",
        "checkouts/%00/",
        f"checkouts/{uuid.UUID(int=0)}/",
        "checkouts/AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA/",
        "orders/%00/",
        "orders/%ED%A0%80/",
        "orders/%FF/",
        "orders/..%2f..%2f/",
        "orders/PK 1/",
        f"orders/{'x' * 5000}/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_address_of_nothing_is_not_found(buyer, method, path):
    response = buyer.send(method, f"/api/{path}", b'{"quantity": 1}', JSON)

    assert response.status_code in {404, 405}, response.content
    assert_answered(response, path)


def test_a_post_is_never_redirected(buyer):
    """A redirect would lose the body, and come back as a GET of something else."""
    response = buyer.post(POST_CHECKOUT.rstrip("/"), order_form())

    assert response.status_code == 404
    assert_answered(response, "no slash")


@pytest.mark.parametrize("path", ["products/", "checkouts/", "orders/"])
@pytest.mark.parametrize(
    "page",
    ["abc", "0", "-1", "1.5", "99999", LONG_DIGITS, "%00", "%FF", "١", "inf", "", "1&page=x"],
)
def test_a_page_that_is_none_is_not_found(buyer, path, page):
    response = buyer.get(f"/api/{path}?page={page}")

    assert response.status_code in {200, 404}
    assert_answered(response, page)


@pytest.mark.parametrize(
    "query",
    [
        "products/?search=%00",
        "products/?search=a%00b",
        "products/?search=%FF",
        "products/?search=%ED%A0%80",
        "products/?search=" + "a+" * 2000,
        "products/?search=\\",
        "products/?search=%25_'\"--",
        "products/?search=a&search=b",
        "products/?" + "a=1&" * 2000,
        "products/?format=xml",
        "products/?format=%00",
        "cart/?format=json",
        "schema/?format=json",
        "schema/?format=nonsense",
        "schema/?lang=%00",
        "schema/?lang=../../../etc",
        "schema/?lang=" + "x" * 5000,
        "schema/?version=%00",
        "docs/?lang=%00",
    ],
)
def test_a_query_may_ask_for_anything(buyer, query):
    assert_answered(buyer.get(f"/api/{query}"), query)


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/html"},
        {"Accept": "application/xml;q=x"},
        {"Accept": "garbage"},
        {"Accept": ";;;,,,"},
        {"Accept": "application/json; indent=zz"},
        {"Accept": "application/json; indent=" + "9" * 20},
        {"Accept": "application/json; version=\x00"},
        {"Accept_Language": "\x00, ../../etc;q=x"},
        {"If_None_Match": '"'},
        {"If_None_Match": 'W/"²", "'},
        {"If_None_Match": ",,,"},
        {"If_None_Match": "x" * 10_000},
        {"If_Modified_Since": "yesterday"},
        {"Range": "bytes=-1"},
        {"X_Forwarded_For": "\x00, not an address"},
        {"X_Forwarded_Proto": "gopher"},
        {"X_HTTP_Method_Override": "DELETE"},
        {"Cookie": "sessionid=\x00; csrftoken=%%%"},
        {"Host": "a b"},
        {"Host": "[::"},
        {"Host": "shop:99999999"},
    ],
)
@pytest.mark.parametrize("path", ["/api/products/", "/api/cart/", "/api/checkouts/"])
def test_a_header_may_say_anything(buyer, path, headers):
    assert_answered(buyer.get(path, **headers), headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_is_answered_everywhere(buyer, fill, method):
    paths = {path for _, path in (*INPUT_PATHS, *BODILESS, *PRIVATE_PATHS)}
    for path in sorted(paths | {"/api/products/", "/api/schema/"}):
        response = buyer.send(method, fill(path), b"", JSON)

        if method == "HEAD":
            assert response.status_code < 500, path
        else:
            assert_answered(response, path)


def call_wsgi(path: str, body: io.BytesIO, **environ: str) -> tuple[int, bytes]:
    """As a web server calls us, with nothing put right on the way."""
    answer: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": JSON,
        "wsgi.input": body,
        "wsgi.url_scheme": "http",
        **environ,
    }
    with one_connection():
        content = application(environ, lambda status, headers: answer.append(status))
    return int(answer[0].split()[0]), b"".join(content)


@pytest.mark.parametrize("charset", STRANGE_CHARSETS)
def test_json_is_utf_8_whatever_the_header_says(buyer, charset):
    address = ADDRESS | {"name": "आशा"}
    body = json.dumps(order_form(shipping_address=address), ensure_ascii=False).encode()

    status_code, content = call_wsgi(
        POST_CHECKOUT,
        io.BytesIO(body),
        QUERY_STRING="a=%41",
        CONTENT_TYPE=f"application/json; charset={charset}",
        CONTENT_LENGTH=str(len(body)),
        HTTP_AUTHORIZATION=f"Bearer {buyer.access}",
    )

    assert status_code == 202, content
    assert CheckoutJob.objects.get().shipping_address["name"] == "आशा"


@pytest.mark.parametrize("charset", STRANGE_CHARSETS)
def test_a_form_is_utf_8_whatever_the_header_says(charset):
    status_code, _ = call_wsgi(
        f"/api/checkouts/{uuid.uuid4()}/callback/",
        io.BytesIO(b"a=%41"),
        QUERY_STRING="a=%41",
        CONTENT_TYPE=f"application/x-www-form-urlencoded; charset={charset}",
        CONTENT_LENGTH="5",
    )

    assert status_code == 303


@pytest.mark.parametrize(
    "path", ["/api/auth/token/", "/api/auth/guest/", "/api/webhooks/razorpay/"]
)
@pytest.mark.parametrize(
    "length", ["abc", "-1", "1.5", "²", "١", "+5", "", "10000000", LONG_DIGITS, "5", "50"]
)
def test_a_length_that_lies_is_answered(path, length):
    status_code, content = call_wsgi(path, io.BytesIO(b'{"email": 1}'), CONTENT_LENGTH=length)

    assert status_code < 500
    if status_code >= 400:
        assert_shape(status_code, content, length)


class _HungUp(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise ConnectionResetError("the client is gone")

    readline = read


@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/token/",
        "/api/webhooks/razorpay/",
        f"/api/checkouts/{uuid.uuid4()}/callback/",
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "application/x-www-form-urlencoded"])
def test_a_client_that_hangs_up_is_no_fault_of_ours(path, content_type):
    status_code, _ = call_wsgi(path, _HungUp(), CONTENT_LENGTH="50", CONTENT_TYPE=content_type)

    assert status_code < 500


def test_a_header_longer_than_any_is_answered():
    status_code, content = call_wsgi(
        "/api/auth/token/", io.BytesIO(b"{}"), CONTENT_LENGTH="2", CONTENT_TYPE="x;" * 20_000
    )

    assert status_code == 415
    assert_shape(status_code, content, "long header")
