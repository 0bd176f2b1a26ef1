"""The admin: everything to be seen; what the pipeline owns is read-only, for rows move by steps."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from shop.accounts import User
from shop.carts import Cart, CartItem, SyncEvent
from shop.catalogue import Product, Variant
from shop.checkout.jobs import CheckoutJob, Move
from shop.money import format_inr
from shop.orders import Order, OrderLine
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund
from shop.stock import StockLevel

admin.site.site_header = admin.site.site_title = "Pakka"
admin.site.index_title = "The shop"


class ReadOnly:
    """Seen, never edited: an edit here would go past the locks and leave no move."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class InRupees:
    """A column `amount`, as people write it, for rows that have `amount_paise`."""

    @admin.display(ordering="amount_paise")
    def amount(self, row: CheckoutJob | Order | Refund) -> str:
        return format_inr(row.amount_paise)


class MoveInline(ReadOnly, admin.TabularInline):
    model = Move
    fields = ("at", "old", "new", "because", "attempts")


class OrderLineInline(ReadOnly, admin.TabularInline):
    model = OrderLine
    fields = ("sku", "name", "units", "unit_price_paise")


class GatewayOrderInline(ReadOnly, admin.TabularInline):
    model = GatewayOrder
    fields = ("gateway_order_id", "is_alias", "asked_at", "checks", "checked_at", "check_at")


class PaymentInline(ReadOnly, admin.TabularInline):
    model = Payment
    fields = ("gateway_payment_id", "status", "amount_paise", "method", "error_description")


class VariantInline(admin.TabularInline):
    model = Variant
    extra = 0


@admin.register(CheckoutJob)
class CheckoutJobAdmin(InRupees, ReadOnly, admin.ModelAdmin):
    list_display = ("id", "state", "amount", "order", "attempts", "due_at", "created_at")
    list_filter = ("state", "error_code")
    search_fields = (
        "id__exact",
        "email",
        "order__number",
        "order__gateway_orders__gateway_order_id",
        "order__gateway_orders__payments__gateway_payment_id",
    )
    list_select_related = ("order",)
    ordering = ("-created_at",)
    inlines = (MoveInline,)


@admin.register(Order)
class OrderAdmin(InRupees, ReadOnly, admin.ModelAdmin):
    list_display = ("number", "amount", "stock_state", "created_at", "paid_at")
    list_filter = ("stock_state",)
    search_fields = ("number", "owner__email", "gateway_orders__gateway_order_id")
    inlines = (OrderLineInline, GatewayOrderInline)


@admin.register(GatewayOrder)
class GatewayOrderAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("gateway_order_id", "order", "is_alias", "checks", "checked_at", "check_at")
    search_fields = ("gateway_order_id", "order__number")
    list_select_related = ("order",)
    inlines = (PaymentInline,)


@admin.register(Payment)
class PaymentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("gateway_payment_id", "status", "amount_paise", "currency", "method")
    list_filter = ("status", "method", "first_seen_via")
    search_fields = ("gateway_payment_id", "gateway_order__gateway_order_id")


@admin.register(Refund)
class RefundAdmin(InRupees, ReadOnly, admin.ModelAdmin):
    list_display = ("key", "payment", "amount", "reason", "status", "attempts", "created_at")
    list_filter = ("status", "reason")
    search_fields = ("key", "gateway_refund_id", "payment__gateway_payment_id")
    list_select_related = ("payment",)


@admin.register(Case)
class CaseAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("kind", "order", "text", "opened_at", "closed_at")
    list_filter = ("kind",)
    search_fields = ("order__number", "reference")
    list_select_related = ("order",)


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("gateway_event_id", "name", "result", "received_at", "handled_at", "attempts")
    search_fields = ("gateway_event_id",)
    exclude = ("body",)
    readonly_fields = ("text",)

    @admin.display(description="body")
    def text(self, event: InboxEvent) -> str:
        return bytes(event.body).decode("utf-8", "replace")


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "slug", "is_active")
    search_fields = ("name", "variants__sku")
    inlines = (VariantInline,)


@admin.register(StockLevel)
class StockLevelAdmin(admin.ModelAdmin):
    list_display = ("variant", "on_hand", "held", "free")
    readonly_fields = ("held",)
    search_fields = ("variant__sku",)


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ("id", "email", "is_guest", "is_staff", "created_at")
    list_filter = ("is_guest", "is_staff")
    search_fields = ("email",)
    exclude = ("password",)


class CartItemInline(ReadOnly, admin.TabularInline):
    model = CartItem


@admin.register(Cart)
class CartAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("id", "owner", "version", "updated_at")
    list_select_related = ("owner",)
    inlines = (CartItemInline,)


@admin.register(SyncEvent)
class SyncEventAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("kind", "owner", "cart_id_seen", "cart_version_seen", "at")
    list_filter = ("kind",)
