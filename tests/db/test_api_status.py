"""The status of a checkout, its poll interval, the list, and cancelling."""

import uuid
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from tests.support.api import Caller, granted, job_of, ordered, payable, refused
from tests.support.shop import make_variant, run, run_remote, stock_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

STEPS = ["validate_cart", "create_order", "create_razorpay_order", "reconcile_payment"]


@pytest.fixture
def buyer() -> Caller:
    return Caller.guest()


def pay(checkout, gateway, standin, outcome: str = "captured") -> None:
    """The bank's side of it, and our asking about it."""
    standin.pay(GatewayOrder.objects.get(order=job_of(checkout).order).gateway_order_id, outcome)
    now = timezone.now()
    polling.poll_now([job_of(checkout).order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def paid(buyer: Caller, gateway, standin) -> dict:
    checkout = buyer.check_out()
    payable(checkout, gateway)
    pay(checkout, gateway, standin)
    return checkout


def step_statuses(status: dict) -> list[str]:
    assert [step["name"] for step in status["steps"]] == STEPS
    return [step["status"] for step in status["steps"]]


def test_the_status_has_all_fields(buyer):
    checkout = buyer.check_out()

    status = buyer.status(checkout)

    here = f"/api/checkouts/{checkout['id']}/"
    assert status["links"] == {
        "self": here,
        "confirm": f"{here}confirm/",
        "cancel": f"{here}cancel/",
    }
    assert {name: status[name] for name in ("order", "payment", "refund", "error")} == {
        "order": None,
        "payment": None,
        "refund": None,
        "error": None,
    }
    assert datetime.fromisoformat(status["created_at"]).utcoffset() is not None
    assert set(status) == set(checkout)
    assert status["message"]


def test_a_new_checkout_is_at_its_first_step(buyer):
    status = buyer.status(buyer.check_out())

    assert step_statuses(status) == ["running", "pending", "pending", "pending"]
    assert status["steps"][0]["started_at"] == status["created_at"]


def test_the_response_to_a_post_is_the_first_status(buyer):
    checkout = buyer.check_out()

    status = buyer.status(checkout)

    assert {**checkout, "poll": None} == {**status, "poll": None}


def test_a_post_is_two_statements(buyer, django_assert_num_queries):
    buyer.add(make_variant())
    buyer.cart()

    with django_assert_num_queries(2):  # one reads the cart, one writes checkout and key
        granted(buyer.post_checkout(key="k-1"), 202)


def test_a_status_read_is_one_statement(buyer, django_assert_num_queries):
    checkout = buyer.check_out()

    with django_assert_num_queries(1):
        buyer.status(checkout)


def test_a_response_through_drf_is_the_same_status(buyer):
    """The short way and DRF's: whoever asks with a quality goes the latter."""
    checkout = buyer.check_out()
    where = checkout["links"]["self"]

    short, long = (buyer.get(where, Accept=it) for it in ("*/*", "application/json;q=0.9"))

    assert {**granted(long), "poll": None} == {**granted(short), "poll": None}
    assert "Allow" in long
    assert "Allow" not in short
    for name in ("Content-Type", "ETag", "Cache-Control", "Retry-After", "X-Content-Type-Options"):
        assert long[name] == short[name]


def test_an_ordered_checkout_shows_its_order(buyer):
    checkout = buyer.check_out()
    job = ordered(checkout)

    status = buyer.status(checkout)

    assert (status["status"], status["step"]) == ("processing", "create_razorpay_order")
    assert step_statuses(status) == ["done", "done", "running", "pending"]
    assert status["order"] == {
        "number": job.order.number,
        "url": f"/api/orders/{job.order.number}/",
    }
    assert status["payment"] is None


def test_a_payable_checkout_shows_the_payment(buyer, gateway):
    checkout = buyer.check_out()
    job = payable(checkout, gateway)

    status = buyer.status(checkout)

    assert (status["status"], status["step"]) == ("awaiting_payment", "reconcile_payment")
    assert step_statuses(status) == ["done", "done", "done", "waiting"]
    assert status["payment"] == {
        "provider": "razorpay",
        "key_id": "rzp_test_standin",
        "razorpay_order_id": GatewayOrder.objects.get().gateway_order_id,
        "amount": 2248896,
        "amount_paise": 2248896,
        "currency": "INR",
        "prefill": {"name": "Asha Rao", "email": "", "contact": "+919845012345"},
        "expires_at": status["payment"]["expires_at"],
        "last_error": None,
    }
    assert datetime.fromisoformat(status["payment"]["expires_at"]) == job.expires_at


def test_a_failed_payment_is_shown_and_can_be_repeated(buyer, gateway, standin):
    checkout = buyer.check_out()
    payable(checkout, gateway)
    before = buyer.status(checkout)["version"]

    pay(checkout, gateway, standin, "failed")

    status = buyer.status(checkout)
    assert status["status"] == "awaiting_payment"
    assert status["payment"]["last_error"]["code"]
    assert status["payment"]["last_error"]["message"]
    assert status["version"] > before


def test_a_paid_checkout_is_final(buyer, gateway, standin):
    response = buyer.get(paid(buyer, gateway, standin)["links"]["self"])

    status = granted(response)
    assert (status["status"], status["step"]) == ("paid", None)
    assert step_statuses(status) == ["done", "done", "done", "done"]
    assert status["poll"] == {"after_ms": 0, "done": True}
    assert "Retry-After" not in response


def test_a_failed_checkout_shows_why_and_whether_it_is_retryable(buyer):
    mug = make_variant(on_hand=1)
    checkout = buyer.check_out(mug, quantity=2)
    ordered(checkout)

    status = buyer.status(checkout)

    assert status["error"] == {
        "code": "out_of_stock",
        "message": f"Only 1 left of {mug.product.name}. Nothing was charged.",
        "retryable": False,
        "details": {"sku": mug.sku, "wanted": 2, "available": 1},
    }
    assert status["message"] == status["error"]["message"]
    assert step_statuses(status) == ["failed", "pending", "pending", "pending"]
    assert status["poll"]["done"]


def test_an_expired_checkout_says_so(buyer, gateway):
    checkout = buyer.check_out()
    job = payable(checkout, gateway)
    late = job.expires_at + timedelta(hours=1)
    CheckoutJob.objects.update(due_at=late)
    run(EXPIRE, now=late)

    assert buyer.status(checkout)["status"] == "expired"


@pytest.mark.parametrize("state", [state for state in State if state is not State.FAILED])
def test_every_state_has_a_status_and_a_message(buyer, state):
    checkout = buyer.check_out()
    CheckoutJob.objects.update(state=state)

    response = buyer.get(checkout["links"]["self"])

    status = granted(response)
    assert status["message"].endswith((".", "!"))
    assert status["poll"]["done"] == ("Retry-After" not in response)


def test_the_poll_interval_is_in_the_body_and_in_the_header(buyer):
    checkout = buyer.check_out()
    CheckoutJob.objects.update(created_at=timezone.now() - timedelta(minutes=10))

    response = buyer.get(checkout["links"]["self"])

    assert granted(response)["poll"] == {"after_ms": 5000, "done": False}
    assert response["Retry-After"] == "5"


def test_an_unchanged_status_is_answered_304(buyer):
    here = buyer.check_out()["links"]["self"]
    first = buyer.get(here)

    again = buyer.get(here, If_None_Match=first["ETag"])

    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert int(again["Retry-After"]) >= 1


def test_a_changed_status_is_sent_again(buyer):
    checkout = buyer.check_out()
    tag = buyer.get(checkout["links"]["self"])["ETag"]
    ordered(checkout)

    assert granted(buyer.get(checkout["links"]["self"], If_None_Match=tag))["step"]


def test_no_cache_keeps_a_status(buyer):
    response = buyer.get(buyer.check_out()["links"]["self"])

    assert response["Cache-Control"] == "private, no-cache"


def test_the_list_has_the_callers_own_checkouts_newest_first(buyer):
    Caller.guest().check_out()
    first = buyer.check_out()
    buyer.post(first["links"]["cancel"])
    second = granted(buyer.post_checkout(), 202)

    page = granted(buyer.get("/api/checkouts/"))

    assert page["count"] == 2
    assert [checkout["id"] for checkout in page["results"]] == [second["id"], first["id"]]
    assert page["results"][0] == buyer.status(second)


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("get", "", None),
        ("post", "cancel/", None),
        (
            "post",
            "confirm/",
            {
                "razorpay_payment_id": "pay_1",
                "razorpay_order_id": "order_1",
                "razorpay_signature": "0" * 64,
            },
        ),
    ],
)
def test_the_checkout_of_another_buyer_is_not_found(buyer, method, path, content):
    theirs = Caller.guest().check_out()
    answers = []
    for checkout_id in (theirs["id"], uuid.uuid4()):
        arguments = [content] if method == "post" else []
        response = getattr(buyer, method)(f"/api/checkouts/{checkout_id}/{path}", *arguments)
        answers.append(refused(response, 404, "not_found"))

    assert answers[0] == answers[1]
    assert job_of(theirs).state == State.QUEUED


def test_cancelling_releases_the_units(buyer):
    mug = make_variant()
    checkout = buyer.check_out(mug, quantity=3)
    ordered(checkout)
    assert stock_of(mug) == (10, 3)

    response = buyer.post(checkout["links"]["cancel"])

    assert granted(response, 202)["status"] == "cancelled"
    assert stock_of(mug) == (10, 0)
    assert "Retry-After" not in response


def test_cancelling_twice_changes_nothing_the_second_time(buyer):
    checkout = buyer.check_out()
    first = granted(buyer.post(checkout["links"]["cancel"]), 202)

    assert granted(buyer.post(checkout["links"]["cancel"]), 202) == first


@pytest.mark.parametrize("outcome", ["authorized", "captured"])
def test_a_checkout_with_known_money_cannot_be_cancelled(buyer, gateway, standin, outcome):
    checkout = buyer.check_out()
    payable(checkout, gateway)
    pay(checkout, gateway, standin, outcome)
    before = buyer.status(checkout)

    refusal = refused(buyer.post(checkout["links"]["cancel"]), 409, "cannot_cancel")

    assert refusal["details"] == {"status": before["status"]}
    assert buyer.status(checkout)["version"] == before["version"]


def test_a_failed_payment_does_not_prevent_cancelling(buyer, gateway, standin):
    checkout = buyer.check_out()
    payable(checkout, gateway)
    pay(checkout, gateway, standin, "failed")

    assert granted(buyer.post(checkout["links"]["cancel"]), 202)["status"] == "cancelled"


def test_money_after_cancelling_is_shown_as_paid(buyer, gateway, standin):
    checkout = buyer.check_out()
    payable(checkout, gateway)
    buyer.post(checkout["links"]["cancel"])

    pay(checkout, gateway, standin)

    assert buyer.status(checkout)["status"] == "paid"
