"""What several lists and pages of the admin share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
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
    """Counts no further than `MAX_COUNTED`, so that a list of millions opens as fast as any."""

    @cached_property
    def count(self) -> int:
        found: Any = self.object_list[:MAX_COUNTED]
        return int(found.count())


class Listing(admin.ModelAdmin):
    """A list in which no page costs more for the rows that are not on it."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50

    class Media:
        css = {"all": (STYLE,)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, title | (extra_context or {}))


class ReadOnly:
    """Seen, never edited: an edit here would go past the locks and leave no move."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def choice_filter(
    field: str, values: Iterable[str], title: str = ""
) -> type[admin.SimpleListFilter]:
    """A filter by values that are known, so that nobody has to look through a table for them."""
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
    """A column `amount`, in the row's own currency, for rows that have `amount_paise`."""

    @admin.display(ordering="amount_paise")
    def amount(self, row: HasAmount) -> str:
        return format_amount(row.amount_paise, row.currency)


def checkout_link(checkout_id: uuid.UUID) -> SafeString:
    url = reverse("admin:shop_checkoutjob_change", args=[checkout_id])
    return format_html('<a href="{}">{}</a>', url, str(checkout_id)[:8])


def pill(word: str) -> SafeString:
    """A state or status, coloured by what it means for operations."""
    return format_html('<span class="pill pill-{}">{}</span>', word, word.replace("_", " "))


def took(pause: timedelta) -> str:
    """A pause as people say it: 0.4 s, 12 s, 3 min, 5 h, 2 days."""
    seconds = pause.total_seconds()
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * 2:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
