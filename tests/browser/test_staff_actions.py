"""Staff find and solve each kind of problem in the admin alone; each action leaves an entry."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
import requests
from playwright.sync_api import expect

from tests.browser.staff import StaffMember
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


def send_webhook(running_shop: RunningShop, name: str, payment: Json, event_id: str) -> None:
    """Send a correctly signed webhook with this content."""
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
    """Report a payment of one rupee less, and drop the real webhooks."""
    running_shop.standin("PATCH", "script", {"drop_all": True})
    order_id = checkout["payment"]["razorpay_order_id"]
    payment = running_shop.standin(
        "POST", "payments", {"order_id": order_id, "outcome": "captured"}
    )
    entity = {key: value for key, value in payment.items() if key != "checkout"}
    less = entity | {"amount": entity["amount"] - 100}
    send_webhook(running_shop, "payment.captured", less, f"less-{entity['id']}")


# --- a gateway that was down ---------------------------------------------------------------------


def test_a_stuck_checkout_is_found_and_retried(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer
):
    running_shop.standin(
        "PUT", "faults", [{"kind": "server_error", "route": "orders.create", "count": None}]
    )
    checkout = buyer.post()
    staff_member = StaffMember.arrive(new_user, "operator")
    # It counts as stuck after three failed attempts, within some seconds.
    until(lambda: staff_member.find(checkout["id"], stuck="yes").count() == 1, seconds=60)

    staff_member.find(checkout["id"], stuck="yes").get_by_role("link").first.click()
    expect(staff_member.page.locator(".detail")).to_contain_text("HTTP 500")
    expect(staff_member.page.locator(".detail .now")).to_contain_text("stuck")
    running_shop.standin("PUT", "faults", [])
    staff_member.press("Retry now")

    staff_member.sees_entry("retry")
    staff_member.sees_state("awaiting payment")
    assert buyer.wait(checkout, "awaiting_payment")["payment"]["razorpay_order_id"]


# --- a payment of another amount -----------------------------------------------------------------


def test_a_payment_of_another_amount_is_accepted(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer, payable: Json
):
    pay_too_little(running_shop, payable)
    buyer.wait(payable, "in_review")
    staff_member = StaffMember.arrive(new_user, "operator")

    staff_member.find(payable["id"], state__exact="in_review").get_by_role("link").first.click()
    expect(staff_member.page.locator(".detail")).to_contain_text("does not fit the order")
    expect(staff_member.button("Refund everything")).to_have_count(0)  # not an operator's to give
    staff_member.press("Accept the money")

    staff_member.sees_entry("accept money")
    staff_member.sees_state("paid")
    assert buyer.wait(payable, "paid")["order"]


def test_a_payment_of_another_amount_is_refunded(
    new_user: NewUser, running_shop: RunningShop, buyer: Buyer, payable: Json
):
    pay_too_little(running_shop, payable)
    buyer.wait(payable, "in_review")
    staff_member = StaffMember.arrive(new_user, "refunder", viewport=PHONE)

    staff_member.open_checkout(payable["id"])
    staff_member.press("Refund everything")

    staff_member.sees_entry("refund all")
    staff_member.sees_state("refunded")
    order_id = payable["payment"]["razorpay_order_id"]
    [payment] = running_shop.standin("GET", f"payments?order_id={order_id}")["items"]
    assert payment["amount_refunded"] == payable["amount_paise"] - 100


# --- a webhook that was given up -----------------------------------------------------------------


@pytest.fixture
def bug(database: Database) -> Iterator[Callable[[], None]]:
    """No payment can be inserted until the returned function is called."""
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
        # Skips the pauses between attempts; each attempt is real.
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


# --- refunds -------------------------------------------------------------------------------------


def test_an_automatic_refund_of_a_second_payment_is_shown(
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


def test_staff_refund_a_part_of_a_paid_order(
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


# --- other ---------------------------------------------------------------------------------------


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


def test_a_cancelled_checkout_releases_its_units(
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
