"""From the catalogue to a paid order, and what lies on the way."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.buyer import FIELDS, Visitor
from tests.support.buyers import Buyer
from tests.support.running_shop import RunningShop

TIFFIN = "TIF-3"


def test_a_guest_buys(visitor: Visitor):
    visitor.open("/")
    visitor.click("Handloom Cotton Throw")
    visitor.page.get_by_label("Madder").check()
    visitor.click("Add to cart")
    visitor.click("Go to the cart")
    visitor.click("Check out")
    visitor.fill_address()
    visitor.click("Place the order")
    visitor.reads("Ready to pay", "Nothing has been charged yet.", "set aside until")
    visitor.click("Pay ₹2,450")
    visitor.in_form("upi")

    visitor.reads("Paid. Thank you!", "We have received your ₹2,450.")
    visitor.click("See the order")
    visitor.reads("Order PK-", "1 × Handloom Cotton Throw, Madder", "Bengaluru 560001")
    expect(visitor.page.locator("[data-cart-count]")).to_be_hidden()
    assert [checkout["status"] for checkout in visitor.checkouts()] == ["paid"]


def test_a_guest_who_signs_in_finds_both_carts_in_one(visitors: Callable[..., Visitor]):
    at_home, on_the_way = visitors(), visitors()
    account = {"email": f"asha.{id(at_home)}@example.com", "password": "kumbakonam-brass"}
    at_home.open("/sign-in/")
    at_home.page.get_by_label("E-mail address").last.fill(account["email"])
    at_home.page.get_by_label("Choose a password").fill(account["password"])
    at_home.click("Create an account")
    at_home.page.wait_for_url(at_home.base_url + "/")
    at_home.add("copper-water-bottle")
    on_the_way.add("terracotta-planter", variant="Small")

    on_the_way.open("/sign-in/")
    on_the_way.page.get_by_label("E-mail address").first.fill(account["email"])
    on_the_way.page.get_by_label("Password", exact=True).fill(account["password"])
    on_the_way.click("Sign in")

    on_the_way.page.wait_for_url("**/cart/")
    lines = on_the_way.page.locator("[data-lines] [data-name]")
    expect(lines).to_have_text(["Copper Water Bottle", "Terracotta Planter, Small, 14 cm"])


def test_a_wrong_password_is_said_so(visitor: Visitor):
    visitor.forgiven += ("/api/auth/token/",)
    visitor.open("/sign-in/")
    visitor.page.get_by_label("E-mail address").first.fill("nobody@example.com")
    visitor.page.get_by_label("Password", exact=True).fill("not-my-password")
    visitor.page.locator("form").first.get_by_role("button").click()

    expect(visitor.page.get_by_role("alert")).to_have_text("E-mail address or password is wrong.")


def test_an_empty_cart_cannot_be_posted_and_says_so(visitor: Visitor):
    visitor.open("/checkout/")

    expect(visitor.page.get_by_text("Your cart is empty. Nothing was ordered")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Place the order")).to_be_hidden()


def test_two_tabs_show_one_cart(visitor: Visitor):
    visitor.add("terracotta-planter")
    visitor.open("/cart/")
    other = visitor.context.new_page()
    visitor.open("/products/copper-water-bottle/", other)

    other.get_by_role("button", name="Add to cart").click()

    expect(visitor.page.locator("[data-lines] [data-name]")).to_have_count(2)
    visitor.page.get_by_role("button", name="Remove Copper").click()
    expect(other.locator("[data-cart-count]")).to_have_text("1")


def test_a_form_with_a_stale_cart_orders_nothing_and_shows_the_true_one(visitor: Visitor):
    visitor.go_to_form()
    phone = visitor.as_program()  # the other device, which no channel connects
    product, variant = phone.find("BTL-CU")
    phone.call("POST", "/api/cart/add/", {"product_id": product["id"], "variant_id": variant["id"]})

    visitor.click("Place the order")

    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text("Your cart has changed")
    expect(alert).to_contain_text("nothing was charged")
    expect(visitor.page.locator("[data-total]")).to_have_text("₹1,848")
    assert visitor.checkouts() == []
    visitor.click("Place the order")
    visitor.reads("Ready to pay")


def test_the_last_unit_taken_while_on_the_form_is_said_before_anything_is_ordered(
    visitor: Visitor, floor: RunningShop
):
    floor.rows("UPDATE shop_stocklevel SET on_hand = held + 1 FROM shop_variant v"
               " WHERE v.id = variant_id AND v.sku = %s RETURNING 1", TIFFIN)  # fmt: skip
    visitor.go_to_form("enamel-tiffin")
    faster = Buyer.arrive(visitor.base_url, sku=TIFFIN)
    faster.wait(faster.post(), "awaiting_payment")

    visitor.click("Place the order")

    expect(visitor.page.get_by_role("alert")).to_contain_text("nothing was charged")
    expect(visitor.page.locator("[data-brief] .stock")).to_have_text("Out of stock")
    visitor.click("Change the cart")
    expect(visitor.page.locator("[data-line-total]")).to_be_visible()
    expect(visitor.page.get_by_text("Please change the marked items first.")).to_be_visible()


def test_the_last_unit_taken_while_the_order_is_placed_ends_without_a_charge(
    visitor: Visitor, floor: RunningShop
):
    visitor.go_to_form("enamel-tiffin")
    floor.stack.freeze("worker")
    try:
        visitor.click("Place the order")
        visitor.reads("We have your order", "Nothing has been charged.")
        floor.rows("UPDATE shop_stocklevel SET on_hand = held FROM shop_variant v"
                   " WHERE v.id = variant_id AND v.sku = %s RETURNING 1", TIFFIN)  # fmt: skip
    finally:
        floor.stack.thaw("worker")

    visitor.reads("We could not place this order", "Nothing was charged.", "Somebody was faster")
    visitor.click("Change the cart")
    expect(visitor.page.get_by_text("Out of stock")).to_be_visible()


def test_slips_in_the_form_stand_beside_their_fields_and_in_a_summary(visitor: Visitor):
    visitor.go_to_form()
    visitor.field("PIN code").fill("56001")
    visitor.field("Mobile number").fill("12345")

    visitor.click("Place the order")

    alert = visitor.page.get_by_role("alert")
    expect(alert).to_be_focused()
    alert.get_by_role("link", name="six digits").click()
    pin = visitor.field("PIN code")
    expect(pin).to_be_focused()
    expect(pin).to_have_accessible_description("A PIN code has six digits, like 560001.")
    pin.fill("560001")
    expect(pin).not_to_have_attribute("aria-invalid", "true")
    assert visitor.checkouts() == []


def test_what_only_the_server_finds_wrong_stands_beside_its_field_too(visitor: Visitor):
    visitor.forgiven += ("/api/payments/create-from-cart/",)
    visitor.go_to_form()
    visitor.field("House, street").evaluate("it => it.removeAttribute('maxlength')")
    visitor.field("House, street").fill("x" * 201)

    visitor.click("Place the order")

    error = visitor.page.locator("#shipping-line1-error")
    expect(error).to_contain_text("200 characters")


def test_the_bill_can_go_elsewhere(visitor: Visitor):
    visitor.go_to_form()
    visitor.page.get_by_label("The bill goes to the same address").uncheck()
    billing = visitor.page.get_by_role("group", name="Billing address")
    for label, value in FIELDS.items():
        billing.get_by_label(label).fill(value)
    billing.get_by_label("Town or city").fill("Mysuru")
    billing.get_by_label("State").select_option("Karnataka")

    visitor.click("Place the order")

    visitor.reads("Ready to pay")
    number = visitor.status()["order"]["number"]
    placed = visitor.as_program().call("GET", f"/api/orders/{number}/")
    assert placed["billing_address"]["city"] == "Mysuru"
    assert placed["shipping_address"]["city"] == "Bengaluru"


def test_a_purchase_needs_no_mouse(visitor: Visitor):
    visitor.go_to_form()
    keyboard = visitor.page.keyboard
    visitor.field("Full name").press("Enter")
    visitor.reads("Ready to pay")

    visitor.page.locator(".skip").focus()
    for _ in range(20):
        keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.dataset.action") == "pay":
            break
    keyboard.press("Enter")
    expect(visitor.page.locator("[data-standin=upi]")).to_be_focused()
    keyboard.press("Enter")

    visitor.reads("Paid. Thank you!")
