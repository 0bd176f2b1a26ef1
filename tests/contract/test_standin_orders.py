"""Orders of the stand-in, through the real SDK."""

import re
import time

import pytest
import razorpay
import requests
from razorpay.errors import BadRequestError, ServerError


def test_a_created_order_looks_like_the_documented_one(create_order):
    order = create_order(receipt="cart-7", notes={"cart": "7"})

    assert re.fullmatch(r"order_[A-Za-z0-9]{14}", order.pop("id"))
    assert abs(order.pop("created_at") - time.time()) < 5
    assert order == {
        "entity": "order",
        "amount": 50_000,
        "amount_paid": 0,
        "amount_due": 50_000,
        "currency": "INR",
        "receipt": "cart-7",
        "offer_id": None,
        "status": "created",
        "attempts": 0,
        "notes": {"cart": "7"},
    }


def test_empty_notes_are_a_list(create_order):
    assert create_order()["notes"] == []


def test_a_create_answers_200(http):
    assert http("POST", "orders", json={"amount": 100, "currency": "INR"}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({"amount": None}, "amount: is required."),
        ({"amount": 100.0}, "The amount must be an integer."),
        ({"amount": "100"}, "The amount must be an integer."),
        ({"amount": True}, "The amount must be an integer."),
        ({"amount": -1}, "amount: must be no less than 0."),
        ({"amount": 99}, "Order amount less than minimum amount allowed"),
        ({"amount": 10**12}, "Amount exceeds maximum amount allowed."),
        ({"currency": None}, "currency: is required."),
        ({"currency": "XYZ"}, "currency: validation_failure: BAD_REQUEST_INVALID_CURRENCY."),
        ({"currency": "inr"}, "currency: validation_failure: BAD_REQUEST_INVALID_CURRENCY."),
        ({"receipt": "r" * 41}, "receipt: the length must be no more than 40."),
        (
            {"receipt": "चाय"},
            "receipt: validation_failure: BAD_REQUEST_ENCODING_VALIDATION_FAILED.",
        ),
        ({"notes": {str(n): "x" for n in range(16)}}, "keys must be no more than 15"),
        ({"notes": {"a": "x" * 257}}, "no more than 256 characters"),
        ({"notes": {"a": ["x"]}}, "values must be strings"),
        ({"notes": "text"}, "notes: must be a map."),
        ({"colour": "red"}, "colour is/are not required and should not be sent"),
        ({"unique_receipt": True}, "unique_receipt is/are not required and should not be sent"),
        ({"first_payment_min_amount": 100}, "first_payment_min_amount"),
        ({"payment": {"capture": "sometimes"}}, "payment.capture"),
        (
            {"payment": {"capture": "manual", "capture_options": {"manual_expiry_period": 7201}}},
            "manual_expiry_period",
        ),
        (
            {
                "payment": {
                    "capture": "automatic",
                    "capture_options": {"automatic_expiry_period": 11},
                }
            },
            "automatic_expiry_period",
        ),
    ],
)
def test_a_wrong_create_is_refused_in_razorpays_words(create_order, fields, description):
    with pytest.raises(BadRequestError, match=re.escape(description)):
        create_order(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 100},
        {"receipt": "r" * 40},
        {"notes": {str(n): "x" * 256 for n in range(15)}},
        {"notes": []},
        {"payment": {"capture": "automatic", "capture_options": {"automatic_expiry_period": 12}}},
        {"partial_payment": True, "first_payment_min_amount": 100},
    ],
)
def test_a_create_at_the_limits_is_accepted(create_order, fields):
    assert create_order(**fields)["status"] == "created"


def test_an_order_may_cost_less_than_a_hundred_units_of_another_currency(create_order):
    assert create_order(amount=50, currency="USD")["amount"] == 50


def test_the_old_wording_can_be_chosen(standin, create_order):
    standin.settings(wording="old")

    with pytest.raises(BadRequestError, match=r"The amount must be at least INR 1\.00"):
        create_order(amount=99)


def test_an_error_says_where_and_why(http):
    response = http("POST", "orders", json={"amount": 100, "currency": "INR", "colour": "red"})

    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "code": "BAD_REQUEST_ERROR",
            "description": "colour is/are not required and should not be sent",
            "source": "business",
            "step": "payment_initiation",
            "reason": "extra_field_sent",
            "metadata": {},
        }
    }


def test_broken_json_is_refused(http):
    response = http("POST", "orders", data="{amount")

    assert (response.status_code, response.json()["error"]["description"]) == (400, "EOF")


@pytest.mark.parametrize(
    ("auth", "description"),
    [
        (None, "The api key provided is invalid"),
        (("rzp_test_another", "standin_secret"), "The api key provided is invalid"),
        (("rzp_test_standin", "wrong"), "Authentication failed"),
        (("rzp_test_standin", ""), "Authentication failed"),
    ],
)
def test_without_key_and_secret_there_is_only_401(standin, auth, description):
    response = requests.get(f"{standin.base_url}/v1/orders", auth=auth, timeout=5)

    assert response.status_code == 401
    assert response.json() == {"error": {"code": "BAD_REQUEST_ERROR", "description": description}}


def test_an_unknown_id_is_a_bad_request(client):
    with pytest.raises(BadRequestError, match="The id provided does not exist"):
        client.order.fetch("order_00000000000000")


def test_a_malformed_id_is_named(client):
    with pytest.raises(BadRequestError, match="order_short is not a valid id"):
        client.order.fetch("order_short")


def test_ids_are_case_sensitive(client, create_order):
    with pytest.raises(BadRequestError, match="The id provided does not exist"):
        client.order.fetch("order_" + create_order()["id"].removeprefix("order_").swapcase())


def test_the_gateway_answers_for_unknown_routes(http):
    response = http("GET", "orderz")

    assert response.status_code == 404
    assert response.json() == {"message": "no Route matched with those values"}


def test_the_sdk_sees_an_unknown_route_as_an_empty_server_error(client):
    with pytest.raises(ServerError, match=r"^$"):
        client.get("/v1/orderz", {})


def test_a_known_route_with_another_verb_is_a_bad_request(http):
    response = http("DELETE", "orders")

    assert response.status_code == 400
    assert "requested URL was not found" in response.json()["error"]["description"]


def test_notes_and_nothing_else_can_be_edited(client, create_order):
    order = create_order(notes={"a": "1"})

    edited = client.order.edit(order["id"], {"notes": {"b": "2"}})

    assert edited["notes"] == {"b": "2"}
    with pytest.raises(BadRequestError, match="amount is/are not required"):
        client.order.edit(order["id"], {"amount": 100})


def test_an_order_counts_attempts_and_ends_as_paid(standin, client, create_order):
    order_id = create_order()["id"]
    standin.pay(order_id, "failed")
    after_failure = client.order.fetch(order_id)
    standin.pay(order_id, "captured")

    paid = client.order.fetch(order_id)

    assert (after_failure["status"], after_failure["attempts"]) == ("attempted", 1)
    assert (paid["status"], paid["attempts"]) == ("paid", 2)
    assert (paid["amount_paid"], paid["amount_due"]) == (50_000, 0)


def test_an_order_shows_its_payments_when_asked(standin, client, create_order):
    order_id = create_order()["id"]
    payment = standin.pay(order_id)

    order = client.order.fetch(order_id, {"expand[]": "payments"})

    assert [item["id"] for item in order["payments"]["items"]] == [payment["id"]]
    assert "payments" not in client.order.fetch(order_id)


def test_orders_are_listed_newest_first_in_pages(client, create_order):
    made = [create_order()["id"] for _ in range(12)]

    first, second = client.order.all(), client.order.all({"skip": 10, "count": 5})

    assert first["count"] == 10
    assert [order["id"] for order in first["items"] + second["items"]] == made[::-1]


def test_a_list_can_be_narrowed_to_a_time(standin, client, create_order):
    create_order()
    standin.advance(100)
    later = create_order()

    found = client.order.all({"from": later["created_at"], "to": later["created_at"]})

    assert [order["id"] for order in found["items"]] == [later["id"]]


def test_a_list_can_be_narrowed_to_orders_with_authorized_payments(standin, client, create_order):
    plain, authorized = create_order(), create_order()
    standin.pay(authorized["id"], "authorized")

    assert [o["id"] for o in client.order.all({"authorized": 1})["items"]] == [authorized["id"]]
    assert [o["id"] for o in client.order.all({"authorized": 0})["items"]] == [plain["id"]]


@pytest.mark.parametrize(
    ("query", "description"),
    [
        ({"count": 101}, "The count may not be greater than 100."),
        ({"count": 0}, "The count must be at least 1."),
        ({"skip": -1}, "The skip must be at least 0."),
        ({"from": 946684799}, "from must be between 946684800 and 4765046400"),
        ({"to": 4765046401}, "to must be between 946684800 and 4765046400"),
        ({"count": "many"}, "The count must be an integer."),
    ],
)
def test_a_list_out_of_range_is_refused(client: razorpay.Client, query, description):
    with pytest.raises(BadRequestError, match=re.escape(description)):
        client.order.all(query)


def test_a_list_shows_the_payments_of_each_order_on_request(client, standin):
    order_ids = [client.order.create({"amount": 50000, "currency": "INR"})["id"] for _ in range(2)]
    standin.pay(order_ids[0])

    plain = client.order.all()["items"]
    expanded = client.order.all({"expand[]": "payments"})["items"]

    assert not any("payments" in order for order in plain)
    assert {order["id"]: order["payments"]["count"] for order in expanded} == {
        order_ids[0]: 1,
        order_ids[1]: 0,
    }
