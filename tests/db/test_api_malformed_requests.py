"""Malformed requests: unusual paths, queries, headers, methods and lengths."""

from __future__ import annotations

import io
import json
import uuid

import pytest

from shop.checkout.jobs import CheckoutJob
from shop.wsgi import application
from tests.support.api import (
    POST_CHECKOUT,
    Caller,
    assert_answered,
    assert_shape,
    one_connection,
    order_form,
)
from tests.support.shop import ADDRESS, make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "unhurried")]

JSON = "application/json"
LONG_DIGITS = "9" * 5000  # more than Python turns into a number

EVERY_PATH = [
    "auth/guest/",
    "auth/register/",
    "auth/token/",
    "auth/token/refresh/",
    "products/",
    "products/1/",
    "cart/",
    "cart/add/",
    "cart/items/1/",
    "cart/sync-events/",
    "payments/create-from-cart/",
    "checkouts/",
    f"checkouts/{uuid.UUID(int=1)}/",
    f"checkouts/{uuid.UUID(int=1)}/cancel/",
    f"checkouts/{uuid.UUID(int=1)}/confirm/",
    f"checkouts/{uuid.UUID(int=1)}/callback/",
    "orders/",
    "orders/PK-261122-0000000000/",
    "webhooks/razorpay/",
    "schema/",
]
ADDRESSES_OF_NOTHING = [
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
]
STRANGE_PAGES = [
    "abc",
    "0",
    "-1",
    "1.5",
    "99999",
    LONG_DIGITS,
    "%00",
    "%FF",
    "١",
    "inf",
    "",
    "1&page=x",
]
STRANGE_QUERIES = [
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
]
STRANGE_HEADERS: list[dict[str, str]] = [
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
]
STRANGE_CHARSETS = [
    "utf-16", "latin-1", "zlib", "hex", "base64", "rot13", "idna", "undefined", "unicode_escape",
    "mbcs", "nonsense", "",
]  # fmt: skip


@pytest.fixture
def buyer() -> Caller:
    """With a mug in the cart."""
    buyer = Caller.guest()
    buyer.add(make_variant())
    return buyer


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_path_is_not_found(buyer, method):
    for path in ADDRESSES_OF_NOTHING:
        response = buyer.send(method, f"/api/{path}", b'{"quantity": 1}', JSON)

        assert response.status_code in {404, 405}, path
        assert_answered(response, path)


def test_a_post_is_never_redirected(buyer):
    """A redirect would lose the body and arrive as a GET."""
    response = buyer.post(POST_CHECKOUT.rstrip("/"), order_form())

    assert response.status_code == 404
    assert_answered(response, "no slash")


@pytest.mark.parametrize("path", ["products/", "checkouts/", "orders/"])
def test_an_invalid_page_number_is_not_found(buyer, path):
    for page in STRANGE_PAGES:
        response = buyer.get(f"/api/{path}?page={page}")

        assert response.status_code in {200, 404}, page
        assert_answered(response, page)


def test_any_query_gets_a_response_below_500(buyer):
    for query in STRANGE_QUERIES:
        assert_answered(buyer.get(f"/api/{query}"), query)


@pytest.mark.parametrize("path", ["/api/products/", "/api/cart/", "/api/checkouts/"])
def test_any_header_gets_a_response_below_500(buyer, path):
    for headers in STRANGE_HEADERS:
        assert_answered(buyer.get(path, **headers), headers)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_gets_a_response_on_every_path(buyer, method):
    for path in EVERY_PATH:
        assert_answered(buyer.send(method, f"/api/{path}", b"", JSON), path)


def test_every_readable_resource_supports_head(buyer):
    for path in EVERY_PATH:
        head = buyer.send("HEAD", f"/api/{path}")
        if buyer.get(f"/api/{path}").status_code == 200:
            assert (head.status_code, head.content) == (200, b""), path


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
def test_json_is_read_as_utf_8_with_any_charset(buyer, charset):
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
def test_a_form_is_read_as_utf_8_with_any_charset(charset):
    status_code, _ = call_wsgi(
        f"/api/checkouts/{uuid.UUID(int=1)}/callback/",
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
def test_a_wrong_content_length_gets_a_response(path, length):
    status_code, content = call_wsgi(path, io.BytesIO(b'{"email": 1}'), CONTENT_LENGTH=length)

    assert status_code < 500
    if status_code >= 400:
        assert_shape(content, length)


class _HungUp(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise ConnectionResetError("the client is gone")

    readline = read


@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/token/",
        "/api/webhooks/razorpay/",
        f"/api/checkouts/{uuid.UUID(int=1)}/callback/",
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "application/x-www-form-urlencoded"])
def test_a_client_that_disconnects_causes_no_500(path, content_type):
    status_code, _ = call_wsgi(path, _HungUp(), CONTENT_LENGTH="50", CONTENT_TYPE=content_type)

    assert status_code < 500


def test_a_very_long_header_gets_a_response():
    status_code, content = call_wsgi(
        "/api/auth/token/", io.BytesIO(b"{}"), CONTENT_LENGTH="2", CONTENT_TYPE="x;" * 20_000
    )

    assert status_code == 415
    assert_shape(content, "long header")
