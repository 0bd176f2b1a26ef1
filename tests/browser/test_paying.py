"""The payment form, and all that can become of it: each ends in a sentence about the money."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from playwright.sync_api import Route, expect

from tests.browser.buyer import Visitor
from tests.support.buyers import until
from tests.support.running_shop import RunningShop

Database = psycopg.Connection[tuple[object, ...]]


def test_a_declined_payment_is_tried_again_on_the_same_order(visitor: Visitor, floor: RunningShop):
    visitor.order()
    visitor.click("Pay ₹349")
    visitor.in_form("fail")
    expect(visitor.page.locator("[data-standin=error]")).to_contain_text("declined")
    visitor.in_form("dismiss")
    visitor.reads("That payment did not go through", "No money has reached us.")

    visitor.click("Try again: ₹349")
    visitor.in_form("card")

    visitor.reads("Paid. Thank you!")
    order_id = visitor.status()["payment"]["razorpay_order_id"]
    payments = floor.standin("GET", f"payments?order_id={order_id}")["items"]
    assert [payment["status"] for payment in payments] == ["failed", "captured"]


def test_a_failure_is_still_told_after_a_reload(visitor: Visitor):
    visitor.order()
    visitor.click("Pay ₹349")
    visitor.in_form("fail")
    visitor.in_form("dismiss")
    visitor.reads("That payment did not go through")
    until(lambda: visitor.status()["payment"]["last_error"] is not None)

    visitor.page.reload()

    visitor.reads("That payment did not go through", "declined by the bank")


def test_a_form_that_was_closed_can_be_opened_again(visitor: Visitor):
    visitor.order()
    visitor.click("Pay ₹349")
    visitor.in_form("dismiss")
    visitor.reads("Not paid yet", "your money is safe")

    visitor.page.reload()
    visitor.reads("Not paid yet")
    visitor.click("Pay ₹349")
    visitor.in_form("upi")

    visitor.reads("Paid. Thank you!")


def test_a_double_click_on_pay_opens_one_form(visitor: Visitor):
    visitor.order()

    # As fast as no finger: a second click of a mouse would meet the form, which covers the button.
    visitor.page.get_by_role("button", name="Pay ₹349").evaluate("it => { it.click(); it.click() }")

    expect(visitor.page.locator("[data-standin=upi]")).to_be_visible()
    assert visitor.page.locator("[data-standin=checkout]").count() == 1


def test_a_double_click_on_the_order_makes_one_checkout(visitor: Visitor):
    visitor.go_to_form()

    visitor.page.get_by_role("button", name="Place the order").dblclick()

    visitor.reads("Ready to pay")
    assert len(visitor.checkouts()) == 1


def test_an_order_whose_answer_is_lost_is_placed_once(visitor: Visitor):
    visitor.forgiven += ("create-from-cart",)
    visitor.go_to_form()
    seen_by_server = []

    def lose_the_first_answer(route: Route) -> None:
        answer = route.fetch()
        seen_by_server.append(answer.status)
        if len(seen_by_server) == 1:
            route.abort("connectionreset")
        else:
            route.fulfill(response=answer)

    visitor.page.route("**/api/payments/create-from-cart/", lose_the_first_answer)
    visitor.click("Place the order")

    visitor.reads("Ready to pay")
    assert seen_by_server == [202, 202]
    assert len(visitor.checkouts()) == 1


def test_an_order_that_cannot_be_sent_can_be_sent_again(visitor: Visitor):
    visitor.forgiven += ("ERR_INTERNET_DISCONNECTED",)
    visitor.go_to_form()
    visitor.context.set_offline(True)
    visitor.click("Place the order")
    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text("sending it again will not make a second one")

    visitor.context.set_offline(False)
    visitor.click("Place the order")

    visitor.reads("Ready to pay")
    assert len(visitor.checkouts()) == 1


def test_a_network_lost_while_waiting_is_told_and_nothing_else_is(
    visitor: Visitor, floor: RunningShop
):
    visitor.forgiven += ("ERR_INTERNET_DISCONNECTED",)
    visitor.order()
    checkout = visitor.status()
    visitor.context.set_offline(True)
    trouble = visitor.page.get_by_text("We cannot reach the shop just now")
    expect(trouble).to_be_visible(timeout=15_000)
    visitor.reads("Ready to pay")
    floor.pay(checkout)

    visitor.context.set_offline(False)

    visitor.reads("Paid. Thank you!")
    expect(trouble).to_be_hidden()


def test_paid_in_a_tab_that_was_closed_is_found_in_the_orders(visitor: Visitor):
    visitor.forgiven += ("Scripts may close only",)
    visitor.order()
    visitor.click("Pay ₹349")
    with visitor.page.expect_response("**/v1/payments/create/ajax"):
        visitor.in_form("vanish")
    visitor.page.close()

    visitor.page = visitor.context.new_page()
    visitor.open("/orders/")
    visitor.page.locator("[data-orders] a").first.click()
    visitor.reads("Order PK-")
    visitor.open(f"/checkout/{visitor.checkouts()[0]['id']}")

    visitor.reads("Paid. Thank you!", "We have received your ₹349.")


def test_a_page_that_hears_nothing_from_the_form_learns_it_from_the_shop(
    visitor: Visitor, floor: RunningShop
):
    visitor.order()
    visitor.click("Pay ₹349")
    expect(visitor.page.locator("[data-standin=upi]")).to_be_visible()

    floor.pay(visitor.status())

    visitor.reads("Paid. Thank you!")
    expect(visitor.page.locator("[data-standin=upi]")).to_have_count(0)


def test_who_has_paid_is_not_asked_to_pay_while_the_bank_is_asked(
    visitor: Visitor, floor: RunningShop
):
    visitor.order()
    floor.standin("PATCH", "script", {"drop_all": True})
    floor.stack.freeze("gateway")
    try:
        visitor.click("Pay ₹349")
        visitor.in_form("upi")
        visitor.reads("Confirming your payment", "Your money is safe", "do not pay again")
        visitor.page.reload()
        visitor.reads("Confirming your payment")
        expect(visitor.page.get_by_role("button", name="Pay ₹349")).to_have_count(0)
    finally:
        floor.stack.thaw("gateway")

    visitor.reads("Paid. Thank you!")


@pytest.mark.parametrize(
    ("process", "title"), [("worker", "We have your order"), ("gateway", "Almost ready")]
)
def test_a_reload_while_the_order_is_prepared_changes_nothing(
    visitor: Visitor, floor: RunningShop, process: str, title: str
):
    visitor.go_to_form()
    floor.stack.freeze(process)
    try:
        visitor.click("Place the order")
        visitor.reads(title, "Nothing has been charged.")
        visitor.page.reload()
        visitor.reads(title, "Nothing has been charged.")
    finally:
        floor.stack.thaw(process)

    visitor.reads("Ready to pay")
    visitor.page.reload()
    visitor.reads("Ready to pay")


def test_a_second_order_waits_for_money_that_is_on_its_way(visitor: Visitor, floor: RunningShop):
    visitor.forgiven += ("/api/payments/create-from-cart/",)
    visitor.order()
    first_id = visitor.checkout_id
    order_id = visitor.status()["payment"]["razorpay_order_id"]
    floor.stack.freeze("gateway")  # the money stays on its way
    try:
        floor.standin("POST", "payments", {"order_id": order_id, "outcome": "authorized"})
        until(lambda: has_money(floor, order_id))
        visitor.add("copper-water-bottle")
        visitor.open("/checkout/")
        expect(visitor.page.locator("[data-brief] li")).to_have_count(2)
        visitor.fill_address()

        visitor.click("Place the order")

        alert = visitor.page.get_by_role("alert")
        expect(alert).to_contain_text("on its way")
        expect(alert).not_to_contain_text("nothing was charged")
        alert.get_by_role("link", name="See the payment").click()
        visitor.page.wait_for_url(f"**/checkout/{first_id}")
    finally:
        floor.stack.thaw("gateway")


def test_a_cancelled_checkout_leaves_the_cart_as_it_was(visitor: Visitor):
    visitor.order()

    visitor.click("Cancel this order")

    visitor.reads("Cancelled", "Nothing was charged.", "Your cart is as it was.")
    visitor.page.reload()
    visitor.reads("Cancelled")
    visitor.click("See the cart")
    expect(visitor.page.locator("[data-lines] li")).to_have_count(1)


def test_time_that_ran_out_is_told_and_ordering_again_makes_a_new_checkout(
    visitor: Visitor, database: Database
):
    visitor.order()
    expired_id = visitor.checkout_id
    run_out(database, expired_id)

    visitor.reads("The time to pay ran out", "your money is safe")
    visitor.page.reload()
    visitor.reads("The time to pay ran out")
    visitor.click("Order again")
    expect(visitor.page.locator("[data-brief] li")).to_have_count(1)
    visitor.fill_address()
    visitor.click("Place the order")

    visitor.reads("Ready to pay")
    assert visitor.checkout_id != expired_id


def test_a_payment_too_late_for_the_items_comes_back(
    visitor: Visitor, floor: RunningShop, database: Database
):
    visitor.order("copper-water-bottle")
    checkout = visitor.status()
    run_out(database, checkout["id"])
    visitor.reads("The time to pay ran out")
    database.execute("UPDATE shop_stocklevel SET on_hand = held FROM shop_variant v"
                     " WHERE v.id = variant_id AND v.sku = 'BTL-CU'")  # fmt: skip

    order_id = checkout["payment"]["razorpay_order_id"]
    floor.standin("POST", "payments", {"order_id": order_id, "outcome": "captured", "force": True})
    until(lambda: visitor.status()["status"] in {"refunding", "refunded"})
    visitor.page.reload()

    expect(visitor.page.locator("[data-money]")).to_contain_text("back")
    expect(visitor.page.locator("main")).to_contain_text("₹1,499")
    until(lambda: visitor.status()["status"] == "refunded")
    visitor.page.reload()
    visitor.reads("Refunded", "Your money is back where it came from.")


def test_a_payment_that_does_not_fit_is_looked_into_and_the_money_is_called_safe(
    visitor: Visitor, floor: RunningShop
):
    visitor.order()
    order_id = visitor.status()["payment"]["razorpay_order_id"]

    floor.standin(
        "POST",
        "payments",
        {"order_id": order_id, "outcome": "captured", "amount": 100, "force": True},
    )

    visitor.reads("We are looking into your payment", "Your money is safe", "do not pay again")


def test_anothers_checkout_is_shown_to_nobody(visitors: Callable[..., Visitor]):
    owner, stranger = visitors(), visitors()
    stranger.forgiven += ("/api/checkouts/",)
    owner.order()
    stranger.add("terracotta-planter")

    stranger.open(f"/checkout/{owner.checkout_id}")

    stranger.reads("We cannot show this checkout", "your money is safe")
    expect(stranger.page.locator("main")).not_to_contain_text("₹349")


def has_money(floor: RunningShop, order_id: str) -> bool:
    """Whether the shop has heard of a payment on this Razorpay order."""
    rows = floor.rows(
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
