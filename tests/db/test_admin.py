"""Staff find any checkout, see everything about it, and edit nothing that only steps may edit."""

import json
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from shop import roles
from shop.accounts import User
from shop.admin import masking
from shop.cart_sync import SyncEvent
from shop.checkout.jobs import CheckoutJob
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import actions
from shop.operations.audit_log import ActionRequest
from shop.ops import cache
from shop.payments import cases
from shop.payments.cases import Case, CaseKind
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import webhooks
from shop.stock import StockLevel
from tests.support import environment
from tests.support.events import deliver
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    post_checkout,
    run,
    stock_of,
)

pytestmark = pytest.mark.django_db

SEEN = (
    "checkoutjob",
    "order",
    "gatewayorder",
    "payment",
    "inboxevent",
    "refund",
    "case",
    "auditentry",
    "product",
    "stocklevel",
    "cart",
    "syncevent",
)
LIST = "admin:shop_checkoutjob_changelist"


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser("root@example.com", "x"))
    return client


@pytest.fixture
def viewer(client):
    person = User.objects.create(email="viewer@example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=roles.VIEWER))
    client.force_login(person)
    return client


@pytest.fixture
def paid(gateway, standin, now):
    """Paid, by a webhook, and partly refunded by staff."""
    job = make_payable(make_checkout(now=now), gateway, now=now)
    deliver(standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id), now=now)
    run(ReconcileWebhook(), now=now)
    job.order.refresh_from_db()
    person = User.objects.create_superuser("asha@example.com", "x")
    actions.refund(
        job.order, amount_paise=12_300, by=ActionRequest(person.pk, "a chipped rim", now)
    )
    return job


def page_of(client, job):
    return client.get(reverse("admin:shop_checkoutjob_change", args=[job.pk])).content.decode()


def listed(client, **query):
    """The ids of the checkouts in the list with these parameters."""
    answer = client.get(reverse(LIST), query)
    assert answer.status_code == 200
    return {job.pk for job in answer.context["cl"].result_list}


# --- permissions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", SEEN)
def test_every_list_opens_and_can_be_searched(table, viewer, now):
    place_order(make_checkout(now=now), now=now)

    assert viewer.get(reverse(f"admin:shop_{table}_changelist")).status_code == 200
    assert viewer.get(reverse(f"admin:shop_{table}_changelist") + "?q=PK-2").status_code == 200


def test_a_viewer_adds_changes_and_deletes_nothing(viewer, paid, now):
    cases.open_cases([cases.Open(paid.order_id, CaseKind.DISPUTE, "disp_1", "a bank")], now=now)
    SyncEvent.objects.create(owner=paid.owner, kind="reloaded", at=now)

    for table in SEEN:
        row = apps.get_model("shop", table).objects.first()
        assert viewer.post(reverse(f"admin:shop_{table}_add"), {}).status_code == 403, table
        for page in ("change", "delete"):
            url = reverse(f"admin:shop_{table}_{page}", args=[row.pk])
            assert viewer.post(url, {"post": "yes"}).status_code == 403, url


def test_accounts_are_for_superusers(viewer):
    assert viewer.get(reverse("admin:shop_user_changelist")).status_code == 403


def test_anonymous_users_see_the_sign_in_page(client, paid):
    url = reverse("admin:shop_checkoutjob_change", args=[paid.pk])

    assert client.get(url).status_code == 302


def test_the_roles_are_created_once_and_keep_other_permissions(admin):
    group = Group.objects.get(name=roles.VIEWER)
    before = set(group.permissions.values_list("codename", flat=True))
    group.permissions.add(*Group.objects.get(name=roles.OPERATOR).permissions.all())

    roles.grant(sender=CheckoutJob._meta.app_config)

    assert Group.objects.count() == 3
    after = set(group.permissions.values_list("codename", flat=True))
    assert after - before == {"operate_checkout"}
    assert before == {name for name in before if name.startswith("view_")}
    assert not before & {"view_user", "view_idempotencykey"}


# --- search and filters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        lambda job: str(job.pk),
        lambda job: str(job.pk)[:8],
        lambda job: str(job.pk).replace("-", "")[:13].upper(),
        lambda job: job.order.number,
        lambda job: job.order.number[:12].lower(),
        lambda job: GatewayOrder.objects.get(order=job.order).gateway_order_id,
        lambda job: Payment.objects.get().gateway_payment_id,
        lambda job: "Asha.Rao@example.com",
        lambda job: "asha.rao@",
    ],
    ids=["id", "prefix", "hex", "number", "number prefix", "order_", "pay_", "e-mail", "mailbox"],
)
def test_a_checkout_is_found_by_each_of_its_names(name, admin, paid, now):
    User.objects.filter(pk=paid.owner_id).update(email="asha.rao@example.com", is_guest=False)
    make_checkout(now=now)

    assert listed(admin, q=name(paid)) == {paid.pk}


@pytest.mark.parametrize("nonsense", ["abc", "zzzz", "pay_none", "%", "' OR 1=1", "f" * 40])
def test_an_unknown_name_finds_nothing(nonsense, admin, paid):
    assert listed(admin, q=nonsense) == set()


def test_a_stuck_checkout_is_found_by_the_filter(admin, now):
    stuck, fresh = make_checkout(now=now), make_checkout(now=now)
    tired = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=stuck.pk).update(due_at=now - timedelta(days=365))
    CheckoutJob.objects.filter(pk=fresh.pk).update(due_at=now + timedelta(days=36500))
    CheckoutJob.objects.filter(pk=tired.pk).update(due_at=now + timedelta(days=36500), attempts=3)

    assert listed(admin, stuck="yes") == {stuck.pk, tired.pk}
    assert "badge-stuck" in page_of(admin, stuck)
    assert "badge-stuck" not in page_of(admin, fresh)


def test_the_list_shows_the_last_day_by_default_and_all_of_a_state(admin, now):
    today, old = make_checkout(now=timezone.now()), make_checkout(now=now)
    CheckoutJob.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=3))

    assert listed(admin) == {today.pk}
    assert listed(admin, age="week") == {today.pk, old.pk}
    assert listed(admin, state__exact="queued") == {today.pk, old.pk}
    assert listed(admin, state__exact="queued", age="hour") == {today.pk}
    assert listed(admin, age="any") == {today.pk}  # without a filter, it would read every row
    assert listed(admin, error_code__exact="out_of_stock") == set()


def test_checkouts_are_found_by_their_next_step(admin, now):
    ordered = place_order(make_checkout(now=now), now=now)
    fresh = make_checkout(now=now)

    assert listed(admin, step="validate_cart") == {fresh.pk}
    assert listed(admin, step="create_razorpay_order") == {ordered.pk}
    assert listed(admin, step="nonsense") == {fresh.pk, ordered.pk}


def test_a_list_costs_the_same_for_one_row_and_for_many(
    admin, now, django_assert_max_num_queries, django_assert_num_queries
):
    place_order(make_checkout(now=now), now=now)
    with django_assert_max_num_queries(12) as counted:
        listed(admin, age="week")
    for _ in range(4):
        place_order(make_checkout(now=now), now=now)

    with django_assert_num_queries(len(counted)):
        assert len(listed(admin, age="week")) == 5


def test_a_list_counts_no_further_than_it_must(admin, now, monkeypatch):
    monkeypatch.setattr("shop.admin.widgets.MAX_COUNTED", 3)
    for _ in range(5):
        make_checkout(now=now)

    answer = admin.get(reverse(LIST), {"age": "week"})

    assert answer.context["cl"].result_count == 3


@pytest.mark.parametrize(
    ("table", "query", "found"),
    [
        ("payment", {"status__exact": "captured"}, 1),
        ("payment", {"status__exact": "failed"}, 0),
        ("refund", {"status__exact": "due", "reason__exact": "requested"}, 1),
        ("refund", {"reason__exact": "surplus"}, 0),
        ("order", {"stock_state__exact": "sold"}, 1),
        ("auditentry", {"action__exact": "refund"}, 1),
        ("auditentry", {"action__exact": "cancel"}, 0),
    ],
)
def test_lists_of_money_are_filtered_by_known_values(table, query, found, admin, paid):
    answer = admin.get(reverse(f"admin:shop_{table}_changelist"), query)

    assert len(answer.context["cl"].result_list) == found


def test_open_cases_come_first(admin, paid, now):
    for name in ("disp_1", "disp_2"):
        cases.open_cases([cases.Open(paid.order_id, CaseKind.DISPUTE, name, name)], now=now)
    person = User.objects.get(email="root@example.com")
    newest = Case.objects.get(reference="disp_2")
    actions.close_case(newest.pk, by=ActionRequest(person.pk, "the bank gave in", now))

    rows = admin.get(reverse("admin:shop_case_changelist")).context["cl"].result_list

    assert [case.reference for case in rows] == ["disp_1", "disp_2"]


@pytest.mark.parametrize(
    ("became", "changes"),
    [
        ("dead", {"handled_at": None, "due_at": None}),
        ("unreadable", {"outcome": "unreadable"}),
        ("foreign", {"outcome": "not_ours"}),
    ],
)
def test_webhooks_are_found_by_their_result(became, changes, admin, paid):
    url = reverse("admin:shop_inboxevent_changelist")
    assert not admin.get(url, {"became": became}).context["cl"].result_list

    InboxEvent.objects.update(**changes)

    assert len(admin.get(url, {"became": became}).context["cl"].result_list) == 1


# --- the page of a checkout ----------------------------------------------------------------------


def test_the_page_of_a_checkout_shows_everything_about_it(viewer, paid, settings):
    settings.FLOWER_URL = "https://flower.example"

    page = page_of(viewer, paid)

    for expected in (
        "units set aside",  # a transition
        "ready to be paid",
        paid.order.number,
        paid.order.lines.get().sku,
        GatewayOrder.objects.get().gateway_order_id,
        Payment.objects.get().gateway_payment_id,
        "a chipped rim",  # the refund, and the audit log
        "asha@example.com",
        "₹123.00",
        "payment.captured",  # the webhook
        InboxEvent.objects.get().gateway_event_id,
        f"https://flower.example/tasks?name=checkout.%20{paid.pk}",
    ):
        assert expected in page, expected
    assert 'name="_save"' not in page


def test_the_page_of_a_checkout_shows_each_failed_attempt(viewer, now):
    job = make_checkout(now=now)
    for number in (1, 2):
        attempt = f"Traceback …\nKeyError: 'cause {number}' planted@secret.example"
        job.failed_attempts.create(state="queued", number=number, error=attempt, at=now)

    page = page_of(viewer, job)

    assert page.index("cause 2") < page.index("cause 1")
    assert "<strong>validate_cart</strong>, attempt 2" in page
    assert "planted@" not in page


def test_the_page_of_a_checkout_shows_why_a_webhook_was_given_up(viewer, paid):
    InboxEvent.objects.update(handled_at=None, due_at=None, last_error="KeyError: 'a bug of ours'")

    assert "a bug of ours" in page_of(viewer, paid)


def test_operations_and_flower_are_one_click_from_every_page(admin, client, settings):
    settings.FLOWER_URL = "https://flower.example"

    for url in (reverse("admin:index"), reverse(LIST), reverse("ops")):
        page = admin.get(url).content.decode()
        for href in (reverse("ops"), reverse(LIST), "https://flower.example"):
            assert f'href="{href}"' in page, (url, href)


def test_a_page_costs_the_same_however_much_there_is(
    viewer, paid, standin, now, django_assert_num_queries, django_assert_max_num_queries
):
    with django_assert_max_num_queries(20) as counted:
        page_of(viewer, paid)
    payment = standin.payments()[0]
    for n in range(3):
        deliver(payment, id=f"pay_more{n}", now=now)
    run(ReconcileWebhook(), now=now)

    with django_assert_num_queries(len(counted)):
        assert "pay_more2" in page_of(viewer, paid)


def test_a_checkout_without_an_order_has_a_page_too(viewer, now):
    variant = make_variant(name="A very plain mug")
    buyer = make_buyer(now=now)
    fill_cart(buyer, variant, now=now)

    assert "A very plain mug" in page_of(viewer, post_checkout(buyer, now=now))


@pytest.mark.parametrize("name", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_checkout_is_not_found(name, viewer):
    url = reverse("admin:shop_checkoutjob_change", args=[name])

    assert viewer.get(url).status_code == 404


def test_nothing_can_be_posted_to_the_page_of_a_checkout(admin, paid):
    url = reverse("admin:shop_checkoutjob_change", args=[paid.pk])

    assert admin.post(url, {"state": "paid"}).status_code == 403


# --- masking -------------------------------------------------------------------------------------

PLANTED = {
    "contact": "+919812345670",
    "email": "planted@secret.example",
    "vpa": "planted.vpa@okbank",
    "card": {"id": "card_1", "last4": "4242", "name": "P. Lanted", "network": "Visa"},
    "bank_account": {"ifsc": "PLAN0000001", "account_number": "00112233445566"},
    "notes": {"planted-key@secret.example": "planted note", "id": "planted-id-in-notes"},
    "acquirer_data": {"rrn": "998877665544"},
    "a_field_of_tomorrow": "planted tomorrow",
    "error_description": "The account of planted@secret.example was debited twice.",
    "number_of_tomorrow": 4111111111111111,
}
SECRETS = (
    "9812345670", "planted@", "planted.vpa", "4242", "Lanted", "PLAN0000001", "00112233445566",
    "planted-key", "planted note", "planted-id", "998877665544", "planted tomorrow",
    "4111111111111111", "planted-token", environment.KEY_SECRET,
)  # fmt: skip


@pytest.fixture
def planted(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id)
    deliver(payment, now=now, **PLANTED)
    run(ReconcileWebhook(), now=now)
    traceback = (
        f"Authorization: Bearer planted-token {environment.KEY_SECRET}\n"
        "IntegrityError: Failing row contains (7, planted@secret.example, 9812345670)."
    )
    InboxEvent.objects.update(last_error=traceback)
    job.failed_attempts.create(state="queued", number=1, error=traceback, at=now)
    stuck = make_checkout(now=now)
    CheckoutJob.objects.update(last_error=traceback)
    CheckoutJob.objects.filter(pk=stuck.pk).update(attempts=4)
    return job


def test_no_page_shows_personal_data_of_a_webhook(planted, admin):
    cache.forget()
    event, payment = InboxEvent.objects.get(), Payment.objects.get()
    pages = [
        reverse("admin:shop_checkoutjob_change", args=[planted.pk]),
        reverse("admin:shop_inboxevent_change", args=[event.pk]),
        reverse("admin:shop_payment_change", args=[payment.pk]),
        reverse("admin:shop_inboxevent_action", args=[event.pk, "replay"]),
        reverse("ops_data"),
        reverse("ops_table", args=["stuck"]),
        *(reverse(f"admin:shop_{table}_changelist") for table in SEEN),
    ]
    for url in pages:
        shown = admin.get(url).content.decode()
        assert [secret for secret in SECRETS if secret in shown] == [], url


def test_a_body_shows_the_fields_about_money(planted):
    shown = masking.masked(bytes(InboxEvent.objects.get().body))

    assert [secret for secret in SECRETS if secret in shown] == []
    entity = json.loads(shown)["payload"]["payment"]["entity"]
    payment = Payment.objects.get()
    assert (entity["id"], entity["amount"]) == (payment.gateway_payment_id, payment.amount_paise)
    assert entity["contact"] == "+*****0"
    assert entity["card"]["network"] == "Visa"


@pytest.mark.parametrize("body", [b"planted@secret.example", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_described(body):
    assert masking.masked(body) == (
        f"{len(body)} bytes that are not JSON. They are stored unchanged."
    )


def test_the_stored_body_is_not_changed(planted):
    assert b"planted@secret.example" in bytes(InboxEvent.objects.get().body)
    assert webhooks.read(bytes(InboxEvent.objects.get().body)).problem == ""


# --- stock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "given", "on_hand"),
    [("10", "15", 14), ("10", "3", 2), ("10", "2", 9)],  # one was sold since; two are held
    ids=["more", "fewer", "fewer than are held"],
)
def test_a_correction_of_stock_undoes_no_sale(shown, given, on_hand, admin):
    variant = make_variant(on_hand=9)
    StockLevel.objects.update(held=2)
    url = reverse("admin:shop_stocklevel_change", args=[variant.pk])
    assert 'name="initial-on_hand"' in admin.get(url).content.decode()

    answer = admin.post(
        url,
        {
            "variant": variant.pk,
            "initial-variant": variant.pk,
            "on_hand": given,
            "initial-on_hand": shown,
        },
        follow=True,
    )

    assert stock_of(variant) == (on_hand, 2)
    assert ("Nothing was changed" in answer.content.decode()) is (on_hand == 9)
