"""Orders, payments, refunds, and cases that need staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from shop import roles
from shop.admin.actions import ActionMixin, StaffAction
from shop.admin.search import SearchMixin
from shop.admin.widgets import InRupees, Listing, ReadOnly, badge, checkout_link, choice_filter
from shop.checkout.states import State
from shop.operations import actions, search
from shop.orders import Order, OrderLine, StockState
from shop.payments.cases import DECIDED_IN_REVIEW, Case, CaseKind
from shop.payments.ledger import GatewayOrder, Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundReason, RefundStatus


class OrderLineInline(ReadOnly, admin.TabularInline):
    model = OrderLine
    fields = ("sku", "name", "units", "unit_price_paise")


class GatewayOrderInline(ReadOnly, admin.TabularInline):
    model = GatewayOrder
    fields = (
        "gateway_order_id",
        "is_duplicate",
        "create_sent_at",
        "poll_count",
        "polled_at",
        "poll_at",
    )


class PaymentInline(ReadOnly, admin.TabularInline):
    model = Payment
    fields = ("gateway_payment_id", "status", "amount_paise", "method", "error_description")


@admin.register(Order)
class OrderAdmin(InRupees, ReadOnly, SearchMixin, Listing):
    list_display = ("number", "amount", "stock_state", "created_at", "paid_at")
    list_filter = (choice_filter("stock_state", StockState, "units"),)
    order_path = "pk"
    search_help_text = "Order number, order_…, pay_… or rfnd_…, e-mail"
    ordering = ("-id",)
    inlines = (OrderLineInline, GatewayOrderInline)

    def matches(self, term: str) -> Q:
        return super().matches(term) | Q(owner_id__in=search.buyer_ids(term))


@admin.register(GatewayOrder)
class GatewayOrderAdmin(ReadOnly, SearchMixin, Listing):
    list_display = (
        "gateway_order_id",
        "order",
        "is_duplicate",
        "poll_count",
        "polled_at",
        "poll_at",
    )
    own = {"order_": "gateway_order_id"}
    search_help_text = "Order number, order_…, pay_… or rfnd_…"
    list_select_related = ("order",)
    ordering = ("-id",)
    inlines = (PaymentInline,)


@admin.register(Payment)
class PaymentAdmin(InRupees, ReadOnly, ActionMixin, SearchMixin, Listing):
    list_display = (
        "gateway_payment_id",
        "status_badge",
        "amount",
        "currency",
        "method",
        "captured_via",
    )
    list_filter = (
        choice_filter("status", PaymentStatus),
        choice_filter("captured_via", ("webhook", "fetch"), "source of the capture"),
    )
    order_path = "gateway_order__order_id"
    own = {"pay_": "gateway_payment_id"}
    search_help_text = "pay_…, order_… or rfnd_…, order number"
    ordering = ("-id",)
    staff_actions = (
        StaffAction(
            "capture",
            "Capture now",
            "Razorpay captures the money that the buyer's bank has reserved for this payment.",
            roles.OPERATE,
            lambda payment: payment.status == PaymentStatus.AUTHORIZED,
            lambda payment, by, _: actions.capture(payment.pk, by=by),
        ),
    )

    @admin.display(description="status")
    def status_badge(self, payment: Payment) -> SafeString:
        return badge(payment.status)


@admin.register(Refund)
class RefundAdmin(InRupees, ReadOnly, ActionMixin, SearchMixin, Listing):
    list_display = (
        "gateway_payment_id", "order", "amount", "reason", "status_badge", "attempts", "created_at",
        "last_error",
    )  # fmt: skip
    list_filter = (choice_filter("status", RefundStatus), choice_filter("reason", RefundReason))
    order_path = "payment__gateway_order__order_id"
    own = {"rfnd_": "gateway_refund_id"}
    otherwise = ("key",)
    search_help_text = "rfnd_…, pay_… or order_…, order number, key"
    list_select_related = ("payment__gateway_order__order",)
    ordering = ("-id",)
    staff_actions = (
        StaffAction(
            "resend",
            "Send again",
            "A new refund of the same amount is sent in place of the failed one. The case of the"
            " failure is closed.",
            roles.REFUND,
            lambda refund: refund.status == RefundStatus.FAILED,
            lambda refund, by, _: actions.resend_refund(refund.pk, by=by),
            is_destructive=True,
        ),
    )

    @admin.display(description="payment")
    def gateway_payment_id(self, refund: Refund) -> str:
        return refund.payment.gateway_payment_id

    def order(self, refund: Refund) -> str:
        return refund.payment.gateway_order.order.number

    @admin.display(description="status")
    def status_badge(self, refund: Refund) -> SafeString:
        return badge(refund.status)


class OpenFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Open"), ("no", "Closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "yes")


def _is_closed_by_decision(case: Case) -> bool:
    """Whether the decision about its checkout will close this case."""
    return case.kind in DECIDED_IN_REVIEW and case.order.checkout.state == State.IN_REVIEW


@admin.register(Case)
class CaseAdmin(ReadOnly, ActionMixin, SearchMixin, Listing):
    list_display = ("kind", "order", "text", "status", "opened_at", "closed_at", "closed_by")
    list_filter = (OpenFilter, choice_filter("kind", CaseKind))
    otherwise = ("reference",)
    search_help_text = "Order number, order_…, pay_… or rfnd_…, reference"
    list_select_related = ("order", "closed_by")
    ordering = (F("closed_at").desc(nulls_first=True), "-id")
    readonly_fields = ("checkout",)
    staff_actions = (
        StaffAction(
            "close",
            "Close",
            "Close this case if it was resolved elsewhere. Nothing else happens. If the checkout is"
            " in review, decide on the page of the checkout instead: that closes the case too.",
            roles.OPERATE,
            lambda case: case.closed_at is None and not _is_closed_by_decision(case),
            lambda case, by, _: actions.close_case(case.pk, by=by),
        ),
    )

    @admin.display(description="status")
    def status(self, case: Case) -> SafeString:
        return badge("closed" if case.closed_at else "open")

    def checkout(self, case: Case) -> SafeString:
        return checkout_link(case.order.checkout.pk)
