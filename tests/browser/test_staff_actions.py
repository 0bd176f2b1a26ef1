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
from tests.browser.staff import REASON, StaffMember
from tests.browser.user import PHONE, NewUser
from tests.support.buyers import Buyer, Json, until
from tests.support.running_shop import MUG, RunningShop

Database = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def buyer(running_shop: RunningShop) -> Buyer:
    return running_shop.arrive(1)[0]


@pytest.fixture
def payable(buyer: Buyer) -> Json:
    return buyer.wait(buyer.post(), "awaiting_payment")


def hear(running_shop: RunningShop, name: str, payment: Json, event_id: str) -> None:
    """A genuine webhook, of our own wording."""
    body = json.dumps({"event": name, "payload": {"payment": {"entity": payment}}}).encode()
    secret = running_shop.stack.environment["RAZORPAY_WEBHOOK_SECRETS"].partition(",")[0]
    answer = requests.post(
        f"{running_shop.stack.base_url}/api/webhooks/razorpay/",
        data=body,
        headers={
            "X-Razorpay-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
            "X-Razorpay-Event-Id": event_id,
        },
        timeout=20,
        proxies={"http": ""},
    )
    assert answer.status_code == 200, answer.text


def pay_too_little(running_shop: RunningShop, checkout: Json) -> None:
    """As Razorpay tells it: a rupee is missing. What it says later of that payment is no news."""
    running_shop.standin("PATCH", "script", {"drop_all": True})
    order_id = checkout["payment"]["razorpay_order_id"]
    payment = running_shop.standin(
        "POST", "payments", {"order_id": order_id, "outcome": "captured"}
    )
    entity = {key: value for key, value in payment.items() if key != "checkout"}
    less = entity | {"amount": entity["amount"] - 100}
    hear(running_shop, "payment.captured", less, f"less-{entity['id']}")


# --- a gateway that was down ---------------------------------------------------------------------


def test_a_stuck_checkout_is_found_understood_and_moved_on(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer
):
    running_shop.standin(
        "PUT", "faults", [{"kind": "server_error", "route": "orders.create", "count": None}]
    )
    checkout = buyer.post()
    staff_member = StaffMember.arrive(new_user, "operator")
    # Tried three times within some seconds, it counts as stuck.
    until(lambda: staff_member.find(checkout["id"], stuck="yes").count() == 1, seconds=60)

    staff_member.find(checkout["id"], stuck="yes").get_by_role("link").first.click()
    expect(staff_member.page.locator(".detail")).to_contain_text("HTTP 500")
    expect(staff_member.page.locator(".detail .now")).to_contain_text("stuck")
    running_shop.standin("PUT", "faults", [])
    staff_member.press("Retry now")

    staff_member.sees_entry("retry")
    staff_member.sees_state("awaiting payment")
    assert buyer.wait(checkout, "awaiting_payment")["payment"]["razorpay_order_id"]


# --- a worker that lives and takes nothing -------------------------------------------------------


def stop_taking(running_shop: RunningShop, queue: str) -> None:
    """The worker lives, and takes no task from this queue any more."""
    broker = celery_broker_url(running_shop.stack.environment["REDIS_URL"])
    with Celery(broker=broker, set_as_current=False) as app:
        answers = app.control.cancel_consumer(queue, reply=True, timeout=3)
    assert any("worker@" in name for answer in answers for name in answer), answers


def test_a_worker_that_stopped_taking_tasks_is_found_and_restarted(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer
):
    staff_member = StaffMember.arrive(new_user, "operator")
    for queue in ("checkout", "webhooks"):
        stop_taking(running_shop, queue)
    before = running_shop.stack.pids("worker")
    checkout = buyer.post()
    staff_member.user.open("/ops/")

    staff_member.page.get_by_role("link", name="Nothing heard of canary.checkout").click(
        timeout=60_000
    )
    page = staff_member.page.locator("#content")
    expect(page.locator(".pill-late")).to_be_visible()
    assert running_shop.stack.pids("worker") == before
    assert buyer.status(checkout)["status"] == "queued"
    staff_member.press("Restart its workers")

    expect(staff_member.page.locator(".messagelist")).to_contain_text("asked worker@")
    assert buyer.wait(checkout, "awaiting_payment")["payment"]["razorpay_order_id"]
    assert not set(running_shop.stack.pids("worker")) & set(before)

    def is_in_time() -> bool:
        staff_member.page.reload()
        return page.locator(".pill-in_time").count() == 1

    until(is_in_time)
    staff_member.user.open("/admin/shop/auditentry/")
    row = staff_member.page.get_by_role("row").filter(has_text="workers of checkout")
    for text in ("operator@pakka.local", "restart", REASON):
        expect(row).to_contain_text(text)


# --- money that does not fit ---------------------------------------------------------------------


def test_money_that_does_not_fit_is_accepted(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer, payable: Json
):
    pay_too_little(running_shop, payable)
    buyer.wait(payable, "in_review")
    staff_member = StaffMember.arrive(new_user, "operator")

    staff_member.find(payable["id"], state__exact="in_review").get_by_role("link").first.click()
    expect(staff_member.page.locator(".detail")).to_contain_text("does not fit the order")
    expect(staff_member.button("Give the money back")).to_have_count(0)  # not an operator's to give
    staff_member.press("Accept the money")

    staff_member.sees_entry("accept money")
    staff_member.sees_state("paid")
    assert buyer.wait(payable, "paid")["order"]


def test_money_that_does_not_fit_is_given_back(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer, payable: Json
):
    pay_too_little(running_shop, payable)
    buyer.wait(payable, "in_review")
    staff_member = StaffMember.arrive(new_user, "refunder", viewport=PHONE)

    staff_member.open_checkout(payable["id"])
    staff_member.press("Give the money back")

    staff_member.sees_entry("give back")
    staff_member.sees_state("refunded")
    order_id = payable["payment"]["razorpay_order_id"]
    [payment] = running_shop.standin("GET", f"payments?order_id={order_id}")["items"]
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
    new_user: NewUser,
    running_shop: RunningShop,
    database: Database,
    buyer: Buyer,
    payable: Json,
    bug: Callable[[], None],
):
    order_id = payable["payment"]["razorpay_order_id"]
    running_shop.pay(payable)

    def given_up() -> list[str]:
        # The pauses between attempts are passed over; each attempt is a real one.
        database.execute("UPDATE shop_inboxevent SET due_at = now() WHERE due_at > now()")
        rows = running_shop.rows(
            "SELECT gateway_event_id FROM shop_inboxevent"
            " WHERE gateway_order_id = %s AND due_at IS NULL AND handled_at IS NULL",
            order_id,
        )
        return [event_id for (event_id,) in rows]

    until(lambda: bool(given_up()), seconds=60)
    staff_member = StaffMember.arrive(new_user, "operator")
    staff_member.user.open(f"/admin/shop/inboxevent/?became=dead&q={order_id}")
    staff_member.page.get_by_role("link", name=given_up()[0]).click()
    expect(staff_member.page.locator("#content")).to_contain_text("a bug of ours")
    bug()
    staff_member.press("Replay")

    staff_member.sees_entry("replay")
    staff_member.sees_state("paid")
    events = staff_member.page.locator("section").filter(has_text="Webhooks")
    expect(events).to_contain_text("settled")


# --- money back ----------------------------------------------------------------------------------


def test_a_second_payment_that_went_back_by_itself_is_seen(
    new_user: NewUser, running_shop: RunningShop, database: Database, buyer: Buyer, payable: Json
):
    """Two Razorpay orders of one order, because the answer to a create was lost; both are paid."""
    environment = running_shop.stack.environment
    duplicate = requests.post(
        f"{running_shop.stack.standin_url}/v1/orders",
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
    running_shop.pay(payable)
    buyer.wait(payable, "paid")
    second = running_shop.standin(
        "POST", "payments", {"order_id": duplicate["id"], "outcome": "captured"}
    )
    staff_member = StaffMember.arrive(new_user, "viewer")

    staff_member.find(payable["id"], q=second["id"]).get_by_role("link").first.click()
    refunds = staff_member.page.locator("section").filter(
        has=staff_member.page.get_by_role("heading", name="Refunds")
    )

    def processed() -> bool:
        staff_member.page.reload()
        return refunds.get_by_text("processed").count() == 1

    until(processed)
    expect(refunds).to_contain_text("surplus")
    expect(refunds).to_contain_text(second["id"])
    staff_member.sees_state("paid")
    assert staff_member.page.locator("a.action").count() == 0  # a viewer only looks


def test_a_part_of_a_paid_order_is_refunded_by_hand(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer, payable: Json
):
    running_shop.pay(payable)
    buyer.wait(payable, "paid")
    operator = StaffMember.arrive(new_user, "operator")
    operator.open_checkout(payable["id"])
    expect(operator.button("Ask Razorpay now")).to_be_visible()
    expect(operator.button("Refund")).to_have_count(0)

    refunder = StaffMember.arrive(new_user, "refunder", viewport=PHONE)
    refunder.open_checkout(payable["id"])
    refunder.press("Refund", **{"Amount in rupees": "12.50"})

    refunder.sees_entry("refund")
    order_id = payable["payment"]["razorpay_order_id"]

    def refunded_paise() -> int:
        [payment] = running_shop.standin("GET", f"payments?order_id={order_id}")["items"]
        return payment["amount_refunded"]

    until(lambda: refunded_paise() == 1250)


# --- signposts -----------------------------------------------------------------------------------


def test_the_tasks_of_a_checkout_are_one_click_away(new_user: NewUser, buyer: Buyer, payable: Json):
    staff_member = StaffMember.arrive(new_user, "viewer")
    staff_member.open_checkout(payable["id"])
    link = staff_member.page.get_by_role("link", name="in Flower")
    login, _, password = staff_member.user.running_shop.stack.environment[
        "FLOWER_BASIC_AUTH"
    ].partition(":")
    flower = new_user(http_credentials={"username": login, "password": password})

    flower.page.goto(link.get_attribute("href") or "")

    rows = flower.page.locator("#tasks-table tbody")
    expect(rows).to_contain_text("checkout.validate_cart")
    expect(rows).to_contain_text(payable["id"])


def test_a_cancelled_checkout_gives_its_units_back(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer, payable: Json
):
    staff_member = StaffMember.arrive(new_user, "operator")
    held = (
        "SELECT held FROM shop_stocklevel l JOIN shop_variant v ON v.id = variant_id WHERE sku = %s"
    )
    [(before,)] = running_shop.rows(held, MUG)
    staff_member.open_checkout(payable["id"])

    staff_member.press("Cancel and release")

    staff_member.sees_entry("cancel")
    staff_member.sees_state("cancelled")
    assert running_shop.rows(held, MUG) == [(before - 1,)]
