"""What goes wrong is found and mended in the admin alone, by who may, and leaves an entry."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
import requests
from celery import Celery
from playwright.sync_api import expect

from shop.addresses import celery_broker_url
from tests.browser.buyer import PHONE, Visitor
from tests.browser.staff import REASON, Officer
from tests.support.buyers import Buyer, Json, until
from tests.support.running_shop import MUG, RunningShop

Database = psycopg.Connection[tuple[object, ...]]
Visitors = Callable[..., Visitor]


@pytest.fixture
def buyer(floor: RunningShop) -> Buyer:
    return floor.arrive(1)[0]


@pytest.fixture
def payable(buyer: Buyer) -> Json:
    return buyer.wait(buyer.post(), "awaiting_payment")


def hear(floor: RunningShop, name: str, payment: Json, event_id: str) -> None:
    """A genuine webhook, of our own wording."""
    body = json.dumps({"event": name, "payload": {"payment": {"entity": payment}}}).encode()
    secret = floor.stack.environment["RAZORPAY_WEBHOOK_SECRETS"].partition(",")[0]
    answer = requests.post(
        f"{floor.stack.base_url}/api/webhooks/razorpay/",
        data=body,
        headers={
            "X-Razorpay-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
            "X-Razorpay-Event-Id": event_id,
        },
        timeout=20,
        proxies={"http": ""},
    )
    assert answer.status_code == 200, answer.text


def pay_too_little(floor: RunningShop, checkout: Json) -> None:
    """As Razorpay tells it: a rupee is missing. What it says later of that payment is no news."""
    floor.standin("PATCH", "script", {"drop_all": True})
    order_id = checkout["payment"]["razorpay_order_id"]
    payment = floor.standin("POST", "payments", {"order_id": order_id, "outcome": "captured"})
    entity = {key: value for key, value in payment.items() if key != "checkout"}
    less = entity | {"amount": entity["amount"] - 100}
    hear(floor, "payment.captured", less, f"less-{entity['id']}")


# --- a gateway that was down ---------------------------------------------------------------------


def test_a_stuck_checkout_is_found_understood_and_moved_on(
    visitors: Visitors, floor: RunningShop, buyer: Buyer
):
    floor.standin(
        "PUT", "faults", [{"kind": "server_error", "route": "orders.create", "count": None}]
    )
    checkout = buyer.post()
    officer = Officer.arrive(visitors, "operator")
    # Tried three times within some seconds, it counts as stuck.
    until(lambda: officer.find(checkout["id"], stuck="yes").count() == 1, seconds=60)

    officer.find(checkout["id"], stuck="yes").get_by_role("link").first.click()
    expect(officer.page.locator(".detail")).to_contain_text("HTTP 500")
    expect(officer.page.locator(".detail .now")).to_contain_text("stuck")
    floor.standin("PUT", "faults", [])
    officer.press("Retry now")

    officer.sees_entry("retry")
    officer.sees_state("awaiting payment")
    assert buyer.wait(checkout, "awaiting_payment")["payment"]["razorpay_order_id"]


# --- a worker that lives and takes nothing -------------------------------------------------------


def stop_taking(floor: RunningShop, queue: str) -> None:
    """The worker lives, and takes no task from this queue any more."""
    broker = celery_broker_url(floor.stack.environment["REDIS_URL"])
    with Celery(broker=broker, set_as_current=False) as app:
        answers = app.control.cancel_consumer(queue, reply=True, timeout=3)
    assert any("worker@" in name for answer in answers for name in answer), answers


def test_a_worker_that_stopped_taking_tasks_is_found_and_restarted(
    visitors: Visitors, floor: RunningShop, buyer: Buyer
):
    officer = Officer.arrive(visitors, "operator")
    for queue in ("checkout", "webhooks"):
        stop_taking(floor, queue)
    before = floor.stack.pids("worker")
    checkout = buyer.post()
    officer.visitor.open("/ops/")

    officer.page.get_by_role("link", name="Nothing heard of canary.checkout").click(timeout=60_000)
    page = officer.page.locator("#content")
    expect(page.locator(".pill-late")).to_be_visible()
    assert floor.stack.pids("worker") == before
    assert buyer.status(checkout)["status"] == "queued"
    officer.press("Restart its workers")

    expect(officer.page.locator(".messagelist")).to_contain_text("asked worker@")
    assert buyer.wait(checkout, "awaiting_payment")["payment"]["razorpay_order_id"]
    assert not set(floor.stack.pids("worker")) & set(before)

    def is_in_time() -> bool:
        officer.page.reload()
        return page.locator(".pill-in_time").count() == 1

    until(is_in_time)
    officer.visitor.open("/admin/shop/auditentry/")
    row = officer.page.get_by_role("row").filter(has_text="workers of checkout")
    for text in ("operator@pakka.local", "restart", REASON):
        expect(row).to_contain_text(text)


# --- money that does not fit ---------------------------------------------------------------------


def test_money_that_does_not_fit_is_accepted(
    visitors: Visitors, floor: RunningShop, buyer: Buyer, payable: Json
):
    pay_too_little(floor, payable)
    buyer.wait(payable, "in_review")
    officer = Officer.arrive(visitors, "operator")

    officer.find(payable["id"], state__exact="in_review").get_by_role("link").first.click()
    expect(officer.page.locator(".detail")).to_contain_text("does not fit the order")
    expect(officer.button("Give the money back")).to_have_count(0)  # not an operator's to give
    officer.press("Accept the money")

    officer.sees_entry("accept money")
    officer.sees_state("paid")
    assert buyer.wait(payable, "paid")["order"]


def test_money_that_does_not_fit_is_given_back(
    visitors: Visitors, floor: RunningShop, buyer: Buyer, payable: Json
):
    pay_too_little(floor, payable)
    buyer.wait(payable, "in_review")
    officer = Officer.arrive(visitors, "refunder", viewport=PHONE)

    officer.open_checkout(payable["id"])
    officer.press("Give the money back")

    officer.sees_entry("give back")
    officer.sees_state("refunded")
    order_id = payable["payment"]["razorpay_order_id"]
    [payment] = floor.standin("GET", f"payments?order_id={order_id}")["items"]
    assert payment["amount_refunded"] == payable["amount_paise"] - 100


# --- a webhook over which we stumbled ------------------------------------------------------------


@pytest.fixture
def bug(database: Database) -> Iterator[Callable[[], None]]:
    """No payment can be written, whoever hears of it, until the returned function is called."""
    database.execute(
        """
        CREATE FUNCTION a_bug() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'a bug of ours' USING ERRCODE = '22000'; END $$;
        CREATE TRIGGER a_bug BEFORE INSERT ON shop_payment FOR EACH ROW EXECUTE FUNCTION a_bug();
        """
    )

    def fix() -> None:
        database.execute("DROP TRIGGER IF EXISTS a_bug ON shop_payment")

    yield fix
    fix()
    database.execute("DROP FUNCTION a_bug()")


def test_a_webhook_that_was_given_up_is_replayed_after_the_fix(
    visitors: Visitors,
    floor: RunningShop,
    database: Database,
    buyer: Buyer,
    payable: Json,
    bug: Callable[[], None],
):
    order_id = payable["payment"]["razorpay_order_id"]
    floor.pay(payable)

    def given_up() -> list[str]:
        # The pauses between attempts are passed over; each attempt is a real one.
        database.execute("UPDATE shop_inboxevent SET due_at = now() WHERE due_at > now()")
        rows = floor.rows(
            "SELECT gateway_event_id FROM shop_inboxevent"
            " WHERE gateway_order_id = %s AND due_at IS NULL AND handled_at IS NULL",
            order_id,
        )
        return [event_id for (event_id,) in rows]

    until(lambda: bool(given_up()), seconds=60)
    officer = Officer.arrive(visitors, "operator")
    officer.visitor.open(f"/admin/shop/inboxevent/?became=dead&q={order_id}")
    officer.page.get_by_role("link", name=given_up()[0]).click()
    expect(officer.page.locator("#content")).to_contain_text("a bug of ours")
    bug()
    officer.press("Replay")

    officer.sees_entry("replay")
    officer.sees_state("paid")
    events = officer.page.locator("section").filter(has_text="Webhooks")
    expect(events).to_contain_text("settled")


# --- money back ----------------------------------------------------------------------------------


def test_a_second_payment_that_went_back_by_itself_is_seen(
    visitors: Visitors, floor: RunningShop, database: Database, buyer: Buyer, payable: Json
):
    """Two Razorpay orders of one order, because the answer to a create was lost; both are paid."""
    environment = floor.stack.environment
    duplicate = requests.post(
        f"{floor.stack.standin_url}/v1/orders",
        json={
            "amount": payable["amount_paise"],
            "currency": "INR",
            "receipt": payable["order"]["number"],
            "payment_capture": 1,
        },
        auth=(environment["RAZORPAY_KEY_ID"], environment["RAZORPAY_KEY_SECRET"]),
        timeout=20,
        proxies={"http": ""},
    ).json()
    database.execute(
        """
        INSERT INTO shop_gatewayorder
            (order_id, gateway_order_id, is_duplicate, amount_paise, currency, created_at,
             poll_count)
        SELECT order_id, %s, true, amount_paise, currency, created_at, 0
        FROM shop_gatewayorder WHERE gateway_order_id = %s
        """,
        [duplicate["id"], payable["payment"]["razorpay_order_id"]],
    )
    floor.pay(payable)
    buyer.wait(payable, "paid")
    second = floor.standin("POST", "payments", {"order_id": duplicate["id"], "outcome": "captured"})
    officer = Officer.arrive(visitors, "viewer")

    officer.find(payable["id"], q=second["id"]).get_by_role("link").first.click()
    refunds = officer.page.locator("section").filter(
        has=officer.page.get_by_role("heading", name="Refunds")
    )

    def processed() -> bool:
        officer.page.reload()
        return refunds.get_by_text("processed").count() == 1

    until(processed)
    expect(refunds).to_contain_text("surplus")
    expect(refunds).to_contain_text(second["id"])
    officer.sees_state("paid")
    assert officer.page.locator("a.action").count() == 0  # a viewer only looks


def test_a_part_of_a_paid_order_is_refunded_by_hand(
    visitors: Visitors, floor: RunningShop, buyer: Buyer, payable: Json
):
    floor.pay(payable)
    buyer.wait(payable, "paid")
    operator = Officer.arrive(visitors, "operator")
    operator.open_checkout(payable["id"])
    expect(operator.button("Ask Razorpay now")).to_be_visible()
    expect(operator.button("Refund")).to_have_count(0)

    refunder = Officer.arrive(visitors, "refunder", viewport=PHONE)
    refunder.open_checkout(payable["id"])
    refunder.press("Refund", **{"Amount in rupees": "12.50"})

    refunder.sees_entry("refund")
    order_id = payable["payment"]["razorpay_order_id"]

    def refunded_paise() -> int:
        [payment] = floor.standin("GET", f"payments?order_id={order_id}")["items"]
        return payment["amount_refunded"]

    until(lambda: refunded_paise() == 1250)


# --- signposts -----------------------------------------------------------------------------------


def test_the_tasks_of_a_checkout_are_one_click_away(
    visitors: Visitors, buyer: Buyer, payable: Json
):
    officer = Officer.arrive(visitors, "viewer")
    officer.open_checkout(payable["id"])
    link = officer.page.get_by_role("link", name="in Flower")
    login, _, password = officer.visitor.floor.stack.environment["FLOWER_BASIC_AUTH"].partition(":")
    flower = visitors(http_credentials={"username": login, "password": password})

    flower.page.goto(link.get_attribute("href") or "")

    rows = flower.page.locator("#tasks-table tbody")
    expect(rows).to_contain_text("checkout.validate_cart")
    expect(rows).to_contain_text(payable["id"])


def test_a_cancelled_checkout_gives_its_units_back(
    visitors: Visitors, floor: RunningShop, buyer: Buyer, payable: Json
):
    officer = Officer.arrive(visitors, "operator")
    held = (
        "SELECT held FROM shop_stocklevel l JOIN shop_variant v ON v.id = variant_id WHERE sku = %s"
    )
    [(before,)] = floor.rows(held, MUG)
    officer.open_checkout(payable["id"])

    officer.press("Cancel and release")

    officer.sees_entry("cancel")
    officer.sees_state("cancelled")
    assert floor.rows(held, MUG) == [(before - 1,)]
