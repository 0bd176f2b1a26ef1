"""From the catalogue to a paid order."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.user import FIELDS, BrowserUser, NewUser
from tests.support.buyers import Buyer
from tests.support.running_shop import RunningShop

TIFFIN = "TIF-3"


def test_a_guest_buys(buyer: BrowserUser):
    buyer.open("/")
    buyer.click("Handloom Cotton Throw")
    buyer.page.get_by_label("Madder").check()
    buyer.click("Add to cart")
    buyer.click("Go to the cart")
    buyer.click("Check out")
    buyer.fill_address()
    buyer.click("Place the order")
    buyer.reads("Ready to pay", "Nothing has been charged yet.", "set aside until")
    buyer.click("Pay ₹2,450")
    buyer.in_form("upi")

    buyer.reads("Paid. Thank you!", "We have received your ₹2,450.")
    buyer.click("See the order")
    buyer.reads("Order PK-", "1 × Handloom Cotton Throw, Madder", "Bengaluru 560001")
    expect(buyer.page.locator("[data-cart-count]")).to_be_hidden()
    assert [checkout["status"] for checkout in buyer.checkouts()] == ["paid"]


def test_a_guest_who_signs_in_finds_both_carts_in_one(new_user: NewUser):
    at_home, on_the_way = new_user(), new_user()
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


def test_a_wrong_password_shows_an_error(buyer: BrowserUser):
    buyer.forgiven += ("/api/auth/token/",)
    buyer.open("/sign-in/")
    buyer.page.get_by_label("E-mail address").first.fill("nobody@example.com")
    buyer.page.get_by_label("Password", exact=True).fill("not-my-password")
    buyer.page.locator("form").first.get_by_role("button").click()

    expect(buyer.page.get_by_role("alert")).to_have_text("E-mail address or password is wrong.")


def test_an_empty_cart_cannot_be_posted(buyer: BrowserUser):
    buyer.open("/checkout/")

    expect(buyer.page.get_by_text("Your cart is empty. Nothing was ordered")).to_be_visible()
    expect(buyer.page.get_by_role("button", name="Place the order")).to_be_hidden()


def test_two_tabs_show_one_cart(buyer: BrowserUser):
    buyer.add("terracotta-planter")
    buyer.open("/cart/")
    other = buyer.context.new_page()
    buyer.open("/products/copper-water-bottle/", other)

    other.get_by_role("button", name="Add to cart").click()

    expect(buyer.page.locator("[data-lines] [data-name]")).to_have_count(2)
    buyer.page.get_by_role("button", name="Remove Copper").click()
    expect(other.locator("[data-cart-count]")).to_have_text("1")


def test_a_form_with_a_stale_cart_orders_nothing_and_shows_the_current_cart(buyer: BrowserUser):
    buyer.go_to_form()
    phone = buyer.as_program()  # the other device, which no channel connects
    product, variant = phone.find("BTL-CU")
    phone.call("POST", "/api/cart/add/", {"product_id": product["id"], "variant_id": variant["id"]})

    buyer.click("Place the order")

    alert = buyer.page.get_by_role("alert")
    expect(alert).to_contain_text("Your cart has changed")
    expect(alert).to_contain_text("nothing was charged")
    expect(buyer.page.locator("[data-total]")).to_have_text("₹1,848")
    assert buyer.checkouts() == []
    buyer.click("Place the order")
    buyer.reads("Ready to pay")


def test_a_unit_sold_while_on_the_form_is_reported_before_the_order(
    buyer: BrowserUser, running_shop: RunningShop
):
    running_shop.rows("UPDATE shop_stocklevel SET on_hand = held + 1 FROM shop_variant v"
               " WHERE v.id = variant_id AND v.sku = %s RETURNING 1", TIFFIN)  # fmt: skip
    buyer.go_to_form("enamel-tiffin")
    faster = Buyer.arrive(buyer.base_url, sku=TIFFIN)
    faster.wait(faster.post(), "awaiting_payment")

    buyer.click("Place the order")

    expect(buyer.page.get_by_role("alert")).to_contain_text("nothing was charged")
    expect(buyer.page.locator("[data-brief] .stock")).to_have_text("Out of stock")
    buyer.click("Change the cart")
    expect(buyer.page.locator("[data-line-total]")).to_be_visible()
    expect(buyer.page.get_by_text("Please change the marked items first.")).to_be_visible()


def test_the_last_unit_taken_while_the_order_is_placed_ends_without_a_charge(
    buyer: BrowserUser, running_shop: RunningShop
):
    buyer.go_to_form("enamel-tiffin")
    running_shop.stack.freeze("worker")
    try:
        buyer.click("Place the order")
        buyer.reads("We have your order", "Nothing has been charged.")
        running_shop.rows("UPDATE shop_stocklevel SET on_hand = held FROM shop_variant v"
                   " WHERE v.id = variant_id AND v.sku = %s RETURNING 1", TIFFIN)  # fmt: skip
    finally:
        running_shop.stack.thaw("worker")

    buyer.reads("We could not place this order", "Nothing was charged.", "Another buyer was faster")
    buyer.click("Change the cart")
    expect(buyer.page.get_by_text("Out of stock")).to_be_visible()


def test_errors_appear_beside_their_fields_and_in_a_summary(buyer: BrowserUser):
    buyer.go_to_form()
    buyer.field("PIN code").fill("56001")
    buyer.field("Mobile number").fill("12345")

    buyer.click("Place the order")

    alert = buyer.page.get_by_role("alert")
    expect(alert).to_be_focused()
    alert.get_by_role("link", name="six digits").click()
    pin = buyer.field("PIN code")
    expect(pin).to_be_focused()
    expect(pin).to_have_accessible_description("A PIN code has six digits, like 560001.")
    pin.fill("560001")
    expect(pin).not_to_have_attribute("aria-invalid", "true")
    assert buyer.checkouts() == []


def test_errors_of_the_server_appear_beside_their_fields_too(buyer: BrowserUser):
    buyer.forgiven += ("/api/payments/create-from-cart/",)
    buyer.go_to_form()
    buyer.field("House, street").evaluate("it => it.removeAttribute('maxlength')")
    buyer.field("House, street").fill("x" * 201)

    buyer.click("Place the order")

    error = buyer.page.locator("#shipping-line1-error")
    expect(error).to_contain_text("200 characters")


def test_the_billing_address_can_differ(buyer: BrowserUser):
    buyer.go_to_form()
    buyer.page.get_by_label("Use the same address for the bill").uncheck()
    billing = buyer.page.get_by_role("group", name="Billing address")
    for label, value in FIELDS.items():
        billing.get_by_label(label).fill(value)
    billing.get_by_label("Town or city").fill("Mysuru")
    billing.get_by_label("State").select_option("Karnataka")

    buyer.click("Place the order")

    buyer.reads("Ready to pay")
    number = buyer.status()["order"]["number"]
    placed = buyer.as_program().call("GET", f"/api/orders/{number}/")
    assert placed["billing_address"]["city"] == "Mysuru"
    assert placed["shipping_address"]["city"] == "Bengaluru"


def test_a_purchase_needs_no_mouse(buyer: BrowserUser):
    buyer.go_to_form()
    keyboard = buyer.page.keyboard
    buyer.field("Full name").press("Enter")
    buyer.reads("Ready to pay")

    buyer.page.locator(".skip").focus()
    for _ in range(20):
        keyboard.press("Tab")
        if buyer.page.evaluate("document.activeElement.dataset.action") == "pay":
            break
    keyboard.press("Enter")
    expect(buyer.page.locator("[data-standin=upi]")).to_be_focused()
    keyboard.press("Enter")

    buyer.reads("Paid. Thank you!")
