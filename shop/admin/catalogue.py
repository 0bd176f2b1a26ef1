"""Products and stock, users and carts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.messages import ERROR
from django.http import HttpRequest

from shop import stock
from shop.accounts import User
from shop.admin.widgets import Listing, ReadOnly
from shop.cart_sync import SyncEvent
from shop.carts import Cart, CartItem
from shop.catalogue import Product, Variant
from shop.stock import StockLevel


class VariantInline(admin.TabularInline):
    model = Variant
    extra = 0


@admin.register(Product)
class ProductAdmin(Listing):
    list_display = ("name", "slug", "is_active")
    search_fields = ("name", "variants__sku")
    inlines = (VariantInline,)


@admin.register(StockLevel)
class StockLevelAdmin(Listing):
    list_display = ("variant", "on_hand", "held", "free")
    list_select_related = ("variant__product",)
    readonly_fields = ("held",)
    search_fields = ("variant__sku",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The variant of a stock level never changes."""
        return ("variant", "held") if obj else ("held",)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete stock that is held or was ordered, and say why. A trigger does too."""
        deleted, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, perms_needed, [*protected, *stock.why_kept(objs)]

    def formfield_for_dbfield(self, *args: Any, **kwargs: Any) -> forms.Field | None:
        """Send the value that the page shows along with the form, for `save_model`."""
        field = super().formfield_for_dbfield(*args, **kwargs)
        if field is not None:
            field.show_hidden_initial = True
        return field

    def save_model(
        self, request: HttpRequest, obj: StockLevel, form: forms.ModelForm, change: bool
    ) -> None:
        """Write only the difference to the value shown: units may be sold in the meantime."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        shown = int(form.data[form.add_initial_prefix("on_hand")])
        if not stock.restock(obj.pk, units=obj.on_hand - shown):
            self.message_user(
                request,
                "Nothing was changed: more units are held for orders than this number.",
                ERROR,
            )


@admin.register(User)
class UserAdmin(Listing):
    list_display = ("id", "email", "is_guest", "is_staff", "created_at")
    list_filter = ("is_guest", "is_staff", "groups")
    search_fields = ("email__startswith",)
    exclude = ("password",)
    filter_horizontal = ("groups", "user_permissions")


class CartItemInline(ReadOnly, admin.TabularInline):
    model = CartItem


@admin.register(Cart)
class CartAdmin(ReadOnly, Listing):
    list_display = ("id", "owner", "version", "updated_at")
    list_select_related = ("owner",)
    inlines = (CartItemInline,)


@admin.register(SyncEvent)
class SyncEventAdmin(ReadOnly, Listing):
    list_display = ("kind", "is_refusal", "owner", "cart_id_seen", "cart_version_seen", "at")
    list_select_related = ("owner",)
    list_filter = ("is_refusal", "kind")
