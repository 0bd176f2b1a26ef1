"""The payment form and its outcomes: each page states where the money is."""

from __future__ import annotations

import psycopg
import pytest
from playwright.sync_api import Route, expect

from tests.browser.user import BrowserUser, NewUser
from tests.support.buyers import until
from tests.support.running_shop import RunningShop

Database = psycopg.Connection[tuple[object, ...]]


def test_a_declined_payment_can_be_repeated_on_the_same_order(
    buyer: BrowserUser, running_shop: RunningShop
):
    buyer.order()
    buyer.click("Pay ₹349")
    buyer.in_form("fail")
    expect(buyer.page.locator("[data-standin=error]")).to_contain_text("declined")
    buyer.in_form("dismiss")
    buyer.reads("That payment did not go through", "No money has reached us.")

    buyer.click("Try again: ₹349")
    buyer.in_form("card")

    buyer.reads("Paid. Thank you!")
    order_id = buyer.status()["payment"]["razorpay_order_id"]
    payments = running_shop.standin("GET", f"payments?order_id={order_id}")["items"]
    assert [payment["status"] for payment in payments] == ["failed", "captured"]


def test_a_failure_is_still_shown_after_a_reload(buyer: BrowserUser):
    buyer.order()
    buyer.click("Pay ₹349")
    buyer.in_form("fail")
    buyer.in_form("dismiss")
    buyer.reads("That payment did not go through")
    until(lambda: buyer.status()["payment"]["last_error"] is not None)

    buyer.page.reload()

    buyer.reads("That payment did not go through", "declined by the bank")


def test_a_form_that_was_closed_can_be_opened_again(buyer: BrowserUser):
    buyer.order()
    buyer.click("Pay ₹349")
    buyer.in_form("dismiss")
    buyer.reads("Not paid yet", "your money is safe")

    buyer.page.reload()
    buyer.reads("Not paid yet")
    buyer.click("Pay ₹349")
    buyer.in_form("upi")

    buyer.reads("Paid. Thank you!")


def test_a_double_click_on_pay_opens_one_form(buyer: BrowserUser):
    buyer.order()

    # As fast as no finger: a second click of a mouse would meet the form, which covers the button.
    buyer.page.get_by_role("button", name="Pay ₹349").evaluate("it => { it.click(); it.click() }")

    expect(buyer.page.locator("[data-standin=upi]")).to_be_visible()
    assert buyer.page.locator("[data-standin=checkout]").count() == 1


def test_a_double_click_on_the_order_makes_one_checkout(buyer: BrowserUser):
    buyer.go_to_form()

    buyer.page.get_by_role("button", name="Place the order").dblclick()

    buyer.reads("Ready to pay")
    assert len(buyer.checkouts()) == 1


def test_an_order_with_a_lost_response_is_placed_once(buyer: BrowserUser):
    buyer.forgiven += ("create-from-cart",)
    buyer.go_to_form()
    seen_by_server = []

    def lose_the_first_answer(route: Route) -> None:
        answer = route.fetch()
        seen_by_server.append(answer.status)
        if len(seen_by_server) == 1:
            route.abort("connectionreset")
        else:
            route.fulfill(response=answer)

    buyer.page.route("**/api/payments/create-from-cart/", lose_the_first_answer)
    buyer.click("Place the order")

    buyer.reads("Ready to pay")
    assert seen_by_server == [202, 202]
    assert len(buyer.checkouts()) == 1


def test_an_order_that_cannot_be_sent_can_be_sent_again(buyer: BrowserUser):
    buyer.forgiven += ("ERR_INTERNET_DISCONNECTED",)
    buyer.go_to_form()
    buyer.context.set_offline(True)
    buyer.click("Place the order")
    alert = buyer.page.get_by_role("alert")
    expect(alert).to_contain_text("sending it again does not order twice")

    buyer.context.set_offline(False)
    buyer.click("Place the order")

    buyer.reads("Ready to pay")
    assert len(buyer.checkouts()) == 1


def test_a_lost_network_shows_a_notice_and_keeps_the_status(
    buyer: BrowserUser, running_shop: RunningShop
):
    buyer.forgiven += ("ERR_INTERNET_DISCONNECTED",)
    buyer.order()
    checkout = buyer.status()
    buyer.context.set_offline(True)
    trouble = buyer.page.get_by_text("We cannot reach the shop at the moment")
    expect(trouble).to_be_visible(timeout=15_000)
    buyer.reads("Ready to pay")
    running_shop.pay(checkout)

    buyer.context.set_offline(False)

    buyer.reads("Paid. Thank you!")
    expect(trouble).to_be_hidden()


def test_a_payment_in_a_closed_tab_appears_in_the_orders(buyer: BrowserUser):
    buyer.forgiven += ("Scripts may close only",)
    buyer.order()
    buyer.click("Pay ₹349")
    with buyer.page.expect_response("**/v1/payments/create/ajax"):
        buyer.in_form("vanish")
    buyer.page.close()

    buyer.page = buyer.context.new_page()
    buyer.open("/orders/")
    buyer.page.locator("[data-orders] a").first.click()
    buyer.reads("Order PK-")
    buyer.open(f"/checkout/{buyer.checkouts()[0]['id']}")

    buyer.reads("Paid. Thank you!", "We have received your ₹349.")


def test_a_payment_that_the_form_does_not_report_appears_by_polling(
    buyer: BrowserUser, running_shop: RunningShop
):
    buyer.order()
    buyer.click("Pay ₹349")
    expect(buyer.page.locator("[data-standin=upi]")).to_be_visible()

    running_shop.pay(buyer.status())

    buyer.reads("Paid. Thank you!")
    expect(buyer.page.locator("[data-standin=upi]")).to_have_count(0)


def test_after_paying_the_page_does_not_offer_to_pay_again(
    buyer: BrowserUser, running_shop: RunningShop
):
    buyer.order()
    running_shop.standin("PATCH", "script", {"drop_all": True})
    running_shop.stack.freeze("gateway")
    try:
        buyer.click("Pay ₹349")
        buyer.in_form("upi")
        buyer.reads("Confirming your payment", "Your money is safe", "do not pay again")
        buyer.page.reload()
        buyer.reads("Confirming your payment")
        expect(buyer.page.get_by_role("button", name="Pay ₹349")).to_have_count(0)
    finally:
        running_shop.stack.thaw("gateway")

    buyer.reads("Paid. Thank you!")


@pytest.mark.parametrize(
    ("process", "title"), [("worker", "We have your order"), ("gateway", "Almost ready")]
)
def test_a_reload_while_the_order_is_prepared_changes_nothing(
    buyer: BrowserUser, running_shop: RunningShop, process: str, title: str
):
    buyer.go_to_form()
    running_shop.stack.freeze(process)
    try:
        buyer.click("Place the order")
        buyer.reads(title, "Nothing has been charged.")
        buyer.page.reload()
        buyer.reads(title, "Nothing has been charged.")
    finally:
        running_shop.stack.thaw(process)

    buyer.reads("Ready to pay")
    buyer.page.reload()
    buyer.reads("Ready to pay")


def test_a_second_order_waits_for_a_pending_payment(buyer: BrowserUser, running_shop: RunningShop):
    buyer.forgiven += ("/api/payments/create-from-cart/",)
    buyer.order()
    first_id = buyer.checkout_id
    order_id = buyer.status()["payment"]["razorpay_order_id"]
    running_shop.stack.freeze("gateway")  # the money stays on its way
    try:
        running_shop.standin("POST", "payments", {"order_id": order_id, "outcome": "authorized"})
        until(lambda: has_money(running_shop, order_id))
        buyer.add("copper-water-bottle")
        buyer.open("/checkout/")
        expect(buyer.page.locator("[data-brief] li")).to_have_count(2)
        buyer.fill_address()

        buyer.click("Place the order")

        alert = buyer.page.get_by_role("alert")
        expect(alert).to_contain_text("on its way")
        expect(alert).not_to_contain_text("nothing was charged")
        alert.get_by_role("link", name="See the payment").click()
        buyer.page.wait_for_url(f"**/checkout/{first_id}")
    finally:
        running_shop.stack.thaw("gateway")


def test_cancelling_does_not_change_the_cart(buyer: BrowserUser):
    buyer.order()

    buyer.click("Cancel this order")

    buyer.reads("Cancelled", "Nothing was charged.", "Your cart is unchanged.")
    buyer.page.reload()
    buyer.reads("Cancelled")
    buyer.click("See the cart")
    expect(buyer.page.locator("[data-lines] li")).to_have_count(1)


def test_an_expired_checkout_says_so_and_can_be_ordered_again(
    buyer: BrowserUser, database: Database
):
    buyer.order()
    expired_id = buyer.checkout_id
    run_out(database, expired_id)

    buyer.reads("The time to pay ran out", "your money is safe")
    buyer.page.reload()
    buyer.reads("The time to pay ran out")
    buyer.click("Order again")
    expect(buyer.page.locator("[data-brief] li")).to_have_count(1)
    buyer.fill_address()
    buyer.click("Place the order")

    buyer.reads("Ready to pay")
    assert buyer.checkout_id != expired_id


def test_a_late_payment_without_stock_is_refunded(
    buyer: BrowserUser, running_shop: RunningShop, database: Database
):
    buyer.order("copper-water-bottle")
    checkout = buyer.status()
    run_out(database, checkout["id"])
    buyer.reads("The time to pay ran out")
    database.execute("UPDATE shop_stocklevel SET on_hand = held FROM shop_variant v"
                     " WHERE v.id = variant_id AND v.sku = 'BTL-CU'")  # fmt: skip

    order_id = checkout["payment"]["razorpay_order_id"]
    running_shop.standin(
        "POST", "payments", {"order_id": order_id, "outcome": "captured", "force": True}
    )
    until(lambda: buyer.status()["status"] in {"refunding", "refunded"})
    buyer.page.reload()

    expect(buyer.page.locator("[data-money]")).to_contain_text("back")
    expect(buyer.page.locator("main")).to_contain_text("₹1,499")
    until(lambda: buyer.status()["status"] == "refunded")
    buyer.page.reload()
    buyer.reads("Refunded", "Your money was sent back the way you paid.")


def test_a_mismatched_payment_goes_to_review(buyer: BrowserUser, running_shop: RunningShop):
    buyer.order()
    order_id = buyer.status()["payment"]["razorpay_order_id"]

    running_shop.standin(
        "POST",
        "payments",
        {"order_id": order_id, "outcome": "captured", "amount": 100, "force": True},
    )

    buyer.reads("We are checking your payment", "Your money is safe", "do not pay again")


def test_the_checkout_of_another_buyer_is_not_shown(new_user: NewUser):
    owner, stranger = new_user(), new_user()
    stranger.forgiven += ("/api/checkouts/",)
    owner.order()
    stranger.add("terracotta-planter")

    stranger.open(f"/checkout/{owner.checkout_id}")

    stranger.reads("We cannot show this checkout", "your money is safe")
    expect(stranger.page.locator("main")).not_to_contain_text("₹349")


def has_money(running_shop: RunningShop, order_id: str) -> bool:
    """Whether the shop has heard of a payment on this Razorpay order."""
    rows = running_shop.rows(
        "SELECT 1 FROM shop_payment p JOIN shop_gatewayorder g ON g.id = p.gateway_order_id"
        " WHERE g.gateway_order_id = %s AND p.status = 'authorized'",
        order_id,
    )
    return bool(rows)


def run_out(database: Database, checkout_id: str) -> None:
    """The hold of this checkout ends now."""
    database.execute(
        "UPDATE shop_checkoutjob SET expires_at = now(), due_at = now() WHERE id = %s",
        [checkout_id],
    )
