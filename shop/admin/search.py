"""The search box of lists whose rows belong to an order."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from shop.operations import search


class SearchMixin(admin.ModelAdmin):
    """
    Searches by the names that `shop.operations.search` knows, and by columns of the row.

    `order_path` leads from a row to the id of its order. A term that begins with a key of `own`
    is compared with that column only; any other term also with the columns of `otherwise`.
    """

    search_fields = ("pk",)  # makes Django show the search box; `get_search_results` searches
    order_path = "order_id"
    own: dict[str, str] = {}
    otherwise: tuple[str, ...] = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(self.matches(term)) if term else queryset), False

    def matches(self, term: str) -> Q:
        for prefix, column in self.own.items():
            if term.startswith(prefix):
                return Q(**{column: term})
        if len(term) >= search.MIN_CHARS and (orders := search.order_ids(term)):
            return Q(**{f"{self.order_path}__in": orders})
        found = Q(pk__in=[])
        for column in self.otherwise:
            found |= Q(**{column: term})
        return found
