"""
Permissions: the table in docs/decisions/permissions.md, tried cell by cell on the real routes.

A route or a method without a row is an error, and so is a row without a route.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from shop import carts, roles
from shop.accounts import User, create_guest
from shop.addresses import REPOSITORY
from shop.api.auth import issue_tokens
from shop.cart_sync import SyncEvent
from shop.carts import CartItem
from shop.checkout.jobs import CheckoutJob
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import actions
from shop.operations.audit_log import ActionRequest
from shop.payments import cases
from shop.payments.cases import CaseKind
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import signatures
from shop.payments.refunds import Refund, RefundStatus
from shop.telemetry.heartbeats import Heartbeat
from tests.support.api import order_form
from tests.support.environment import KEY_SECRET
from tests.support.events import deliver
from tests.support.shop import fill_cart, make_payable, make_variant, post_checkout, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "unhurried")]

DOCUMENT = (REPOSITORY / "docs" / "decisions" / "permissions.md").read_text()
CALLERS = ("nobody", "another", "guest", "owner", "viewer", "operator", "refunder", "superuser")
STAFF = ("viewer", "operator", "refunder")


@dataclass(frozen=True)
class Row:
    route: str
    method: str
    outcomes: tuple[str, ...]  # of CALLERS


def table() -> list[Row]:
    """The rows of the document; a word in braces gives one for each table that it stands for."""
    words = {
        word: names.split(", ")
        for word, names in re.findall(r"^- `\{(\w+)\}`: (.+)$", DOCUMENT, re.MULTILINE)
    }
    rows = []
    for line in re.findall(r"^\| (`.+) \|$", DOCUMENT, re.MULTILINE):
        route, methods, *outcomes = (cell.strip(" `") for cell in line.split(" | "))
        [word] = re.findall(r"\{(\w+)\}", route) or [""]
        for name, method in product(words.get(word, [""]), methods.split()):
            full = route.replace(f"{{{word}}}", name)
            rows.append(Row("" if full == "/" else full, method, tuple(outcomes)))
    return rows


TABLE = table()


def routes(patterns: Any, before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every route with the methods that its view declares; none for views that declare none."""
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if not isinstance(pattern, URLPattern):
            yield from routes(pattern.url_patterns, route)
            continue
        view = getattr(pattern.callback, "cls", None)  # of DRF
        said = (
            {name.upper() for name in view.http_method_names if hasattr(view, name)} if view else ()
        )
        yield route, set(said) - {"OPTIONS", "HEAD"}


def test_every_route_is_in_the_table_and_every_row_has_a_route():
    there = list(routes(get_resolver().url_patterns))
    asked = {(row.route, row.method) for row in TABLE}

    assert {route for route, _ in there} == {row.route for row in TABLE}
    said = {(route, method) for route, methods in there for method in methods}
    assert said - asked == set()
    assert len(asked) == len(TABLE)


def test_every_row_has_a_cell_for_everybody():
    assert {len(row.outcomes) for row in TABLE} == {len(CALLERS)}


@dataclass
class World:
    """A buyer with a paid order, an open checkout and a cart, and all other callers."""

    people: dict[str, User]
    sessions: dict[str, str]
    open: CheckoutJob
    paid: CheckoutJob
    rows: dict[str, Any]  # one of each table in the admin

    def send(self, caller: str, row: Row) -> HttpResponse:
        client, headers = Client(raise_request_exception=False), {}
        if caller != "nobody":
            client.cookies["sessionid"] = self.sessions[caller]
            headers["Authorization"] = f"Bearer {issue_tokens(self.people[caller])['access']}"
        path, body = self.path(row.route), self.body(row.route)
        if row.route.startswith("api/"):
            sent = json.dumps(body) if row.method in ("POST", "PATCH") else ""
            return client.generic(row.method, path, sent, "application/json", headers=headers)
        return client.generic(row.method, path, headers=headers)

    def path(self, route: str) -> str:
        found = re.match(r"admin/\w+/(\w+)/<path:object_id>", route)
        row = self.rows[found[1]] if found else None
        values = {
            "<uuid:job_id>": self.open.pk,
            "<uuid:checkout_id>": self.open.pk,
            "<slug:number>": self.paid.order.number,
            "<str:number>": self.paid.order.number,
            "<int:item_id>": CartItem.objects.get(cart__owner=self.people["owner"]).pk,
            "<int:pk>": self.rows["product"].pk,
            "<slug:name>": "stuck",
            "<slug:slug>": ACTIONS[found[1]]
            if row and "action" in route
            else self.rows["product"].slug,
            "<path:object_id>": row.pk if row else 1,
            "<path:content_type_id>": 1,
            "^(?P<app_label>shop|auth)/$": "shop/",
            "(?P<url>.*)$": "nothing/",
        }
        for name, value in values.items():
            route = route.replace(name, str(value))
        return f"/{route}"

    def body(self, route: str) -> dict[str, Any]:
        order_id = GatewayOrder.objects.get(order=self.open.order).gateway_order_id
        signature = signatures.sign(f"{order_id}|pay_1".encode(), secret=KEY_SECRET)
        product_id = self.rows["product"].pk
        bodies: dict[str, dict[str, Any]] = {
            "auth/register/": {"email": "new@example.com", "password": "long enough 1"},
            "auth/token/": {"email": "owner@example.com", "password": "owner's own"},
            "auth/sign-out/": {"refresh": issue_tokens(self.people["owner"])["refresh"]},
            "auth/token/refresh/": {"refresh": issue_tokens(self.people["owner"])["refresh"]},
            "cart/add/": {"product_id": product_id},
            "cart/items/<int:item_id>/": {"quantity": 2},
            "cart/sync-events/": {"kind": "reload"},
            "payments/create-from-cart/": order_form(),
            "checkouts/": order_form(),
            "checkouts/<uuid:job_id>/confirm/": {
                "razorpay_payment_id": "pay_1",
                "razorpay_order_id": order_id,
                "razorpay_signature": signature,
            },
            "orders/<slug:number>/refunds/": {"amount_paise": 100, "reason": "a chipped rim"},
        }
        return bodies.get(route.removeprefix("api/"), {})


ACTIONS = {
    "checkoutjob": "cancel",
    "payment": "capture",
    "refund": "resend",
    "case": "close",
    "inboxevent": "replay",
}


def person(name: str) -> User:
    if name == "guest":
        return create_guest(now=timezone.now())
    staff = name in (*STAFF, "superuser")
    user = User(email=f"{name}@example.com", is_staff=staff, is_superuser=name == "superuser")
    user.set_password(f"{name}'s own")
    user.save()
    if name in STAFF:
        user.groups.add(Group.objects.get(name=name))
    return user


def session_of(user: User) -> str:
    """Also for buyers, who cannot get one in the shop."""
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


@pytest.fixture
def world(gateway, standin, now) -> World:
    people = {name: person(name) for name in CALLERS if name != "nobody"}
    owner, mug = people["owner"], make_variant()
    fill_cart(owner, mug, now=now)
    paid = make_payable(post_checkout(owner, now=now), gateway, now=now)
    deliver(standin.pay(GatewayOrder.objects.get(order=paid.order).gateway_order_id), now=now)
    run(ReconcileWebhook(), now=now)
    paid.refresh_from_db()
    by = ActionRequest(people["superuser"].pk, "a chipped rim", now)
    refund = actions.refund(paid.order, amount_paise=100, by=by)
    Refund.objects.update(status=RefundStatus.FAILED)
    cases.open_cases([cases.Open(paid.order_id, CaseKind.DISPUTE, "disp_1", "a bank")], now=now)
    for buyer in people.values():
        fill_cart(buyer, mug, now=now)
    opened = make_payable(post_checkout(owner, now=timezone.now()), gateway, now=timezone.now())
    payment = Payment.objects.get()
    return World(
        people,
        {name: session_of(user) for name, user in people.items()},
        opened,
        paid,
        {
            "checkoutjob": opened,
            "order": paid.order,
            "gatewayorder": payment.gateway_order,
            "payment": payment,
            "refund": refund.refund,
            "case": cases.Case.objects.get(),
            "inboxevent": InboxEvent.objects.get(),
            "auditentry": refund.entry,
            "product": mug.product,
            "stocklevel": mug.stock,
            "cart": carts.Cart.objects.get(owner=owner),
            "syncevent": SyncEvent.objects.create(owner=owner, kind="reload", at=now),
            "heartbeat": Heartbeat.objects.create(name="canary.gateway", at=now),
            "user": owner,
            "group": Group.objects.get(name=roles.VIEWER),
        },
    )


def outcome(response: HttpResponse) -> str:
    """The word that the table uses for this response."""
    if response.status_code == 302 and response["Location"].startswith("/admin/login/"):
        return "sign in"
    return "yes" if response.status_code < 400 else str(response.status_code)


def check(world: World, rows: list[Row]) -> None:
    """Try each cell; a savepoint undoes what it did."""
    wrong = []
    for row in rows:
        found = []
        for caller in CALLERS:
            before = transaction.savepoint()
            found.append(outcome(world.send(caller, row)))
            transaction.savepoint_rollback(before)
        if tuple(found) != row.outcomes:
            wrong.append(f"{row.method} {row.route}: {' | '.join(found)}")
    assert rows
    assert not wrong, "\n".join(wrong)


def test_the_api_is_as_the_table_says(world):
    check(world, [row for row in TABLE if row.route.startswith("api/")])


def test_the_pages_are_as_the_table_says(world):
    check(world, [row for row in TABLE if not row.route.startswith(("api/", "admin/"))])


def test_the_admin_is_as_the_table_says(world):
    check(world, [row for row in TABLE if row.route.startswith("admin/")])


# --- another buyer's row, and no row --------------------------------------------------------------

NOBODYS = "00000000-0000-4000-8000-000000000000"
PRIVATE = [
    ("GET", "/api/checkouts/{open}/", f"/api/checkouts/{NOBODYS}/"),
    ("POST", "/api/checkouts/{open}/cancel/", f"/api/checkouts/{NOBODYS}/cancel/"),
    ("POST", "/api/checkouts/{open}/confirm/", f"/api/checkouts/{NOBODYS}/confirm/"),
    ("GET", "/api/orders/{number}/", "/api/orders/PK-261122-0000000000/"),
    ("POST", "/api/orders/{number}/refunds/", "/api/orders/PK-261122-0000000000/refunds/"),
    ("PATCH", "/api/cart/items/{item}/", "/api/cart/items/999999999/"),
    ("DELETE", "/api/cart/items/{item}/", "/api/cart/items/999999999/"),
]


REFUNDING = "/api/orders/{number}/refunds/"  # allowed for superuser and refunder, on any order


def answer(world: World, caller: str, method: str, path: str, **more: Any) -> tuple[Any, ...]:
    """Everything by which a caller could distinguish answers; queries stand for the time."""
    body = json.dumps(world.body("api/checkouts/<uuid:job_id>/confirm/") | more)
    headers = {"Authorization": f"Bearer {issue_tokens(world.people[caller])['access']}"}
    with CaptureQueriesContext(connection) as queries:
        response = Client(raise_request_exception=False).generic(
            method, path, body, "application/json", headers=headers
        )
    said = {name: value for name, value in response.items() if name != "X-Request-Id"}
    return response.status_code, response.content, said, len(queries)


@pytest.mark.parametrize("caller", ["another", "guest", "viewer", "superuser"])
@pytest.mark.parametrize(("method", "theirs", "none"), PRIVATE)
def test_another_buyers_row_and_no_row_get_the_same_answer(world, caller, method, theirs, none):
    if (theirs, caller) == (REFUNDING, "superuser"):
        caller = "operator"
    path = theirs.format(
        open=world.open.pk,
        number=world.paid.order.number,
        item=CartItem.objects.get(cart__owner=world.people["owner"]).pk,
    )
    more = {"quantity": 1, "reason": "because"}

    found = answer(world, caller, method, path, **more)

    assert found == answer(world, caller, method, none, **more)
    assert found[0] == (403 if theirs == REFUNDING else 404)


def test_another_buyers_cart_and_no_cart_get_the_same_answer(world):
    theirs = carts.Cart.objects.get(owner=world.people["owner"]).pk
    path, form = "/api/payments/create-from-cart/", order_form()

    answer(world, "another", "GET", "/api/cart/")  # the first read of a minute writes `updated_at`
    found = answer(world, "another", "POST", path, **form, cart_id=theirs)

    assert found == answer(world, "another", "POST", path, **form, cart_id=999999999)
    assert found[0] == 400
    assert b"cart_not_found" in found[1]


def test_the_number_of_a_cart_opens_nothing(world):
    """Carts have consecutive numbers; no route takes one."""
    theirs = carts.Cart.objects.get(owner=world.people["owner"]).pk
    own = carts.Cart.objects.get(owner=world.people["another"]).pk
    headers = {"Authorization": f"Bearer {issue_tokens(world.people['another'])['access']}"}

    for path in (f"/api/cart/?id={theirs}", f"/api/cart/?cart_id={theirs}"):
        assert Client().get(path, headers=headers).json()["id"] == own
    assert Client().get(f"/api/cart/{theirs}/", headers=headers).status_code == 404
