"""Parts that several lists and pages of the admin share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from shop.money import format_amount

MAX_COUNTED = 10_000
STYLE = "shop/admin/admin.css"


class BoundedPaginator(Paginator):
    """Counts at most `MAX_COUNTED` rows, so that a list of millions opens as fast as any."""

    @cached_property
    def count(self) -> int:
        found: Any = self.object_list[:MAX_COUNTED]
        return int(found.count())


class Listing(admin.ModelAdmin):
    """A list whose pages cost the same however many rows the table has."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count the rows of every filter
    list_per_page = 50

    class Media:
        css = {"all": (STYLE,)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, title | (extra_context or {}))


class ReadOnly:
    """Refuses edits: they would bypass locks, transitions and the audit log."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def choice_filter(
    field: str, values: Iterable[str], title: str = ""
) -> type[admin.SimpleListFilter]:
    """A filter by known values; Django's own would read the table to find them."""
    choices = [(str(value), str(value).replace("_", " ").capitalize()) for value in values]

    class ChoiceFilter(admin.SimpleListFilter):
        parameter_name = f"{field}__exact"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return choices

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    ChoiceFilter.title = title or field.replace("_", " ")
    return ChoiceFilter


class HasAmount(Protocol):
    amount_paise: int

    @property
    def currency(self) -> str: ...


class InRupees:
    """A column `amount`, in the currency of the row."""

    @admin.display(ordering="amount_paise")
    def amount(self, row: HasAmount) -> str:
        return format_amount(row.amount_paise, row.currency)


def checkout_link(checkout_id: uuid.UUID) -> SafeString:
    url = reverse("admin:shop_checkoutjob_change", args=[checkout_id])
    return format_html('<a href="{}">{}</a>', url, str(checkout_id)[:8])


def badge(status: str) -> SafeString:
    """A state or status as a coloured label; admin.css has the colours."""
    return format_html('<span class="badge badge-{}">{}</span>', status, status.replace("_", " "))
