"""What Razorpay has told us, whatever became of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from shop import roles
from shop.admin.actions import ActionMixin, StaffAction
from shop.admin.masking import masked
from shop.admin.widgets import Listing, ReadOnly
from shop.operations import actions
from shop.payments.inbox import NEEDS_STAFF, EventOutcome, InboxEvent
from shop.telemetry.redaction import redacted


class BecameFilter(admin.SimpleListFilter):
    title = "what became of it"
    parameter_name = "became"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("dead", "Dead: given up"),
            ("waiting", "Waits"),
            ("unreadable", "Cannot be read"),
            ("foreign", "Not ours"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "dead":
                return queryset.filter(handled_at=None, due_at=None)
            case "waiting":
                return queryset.filter(due_at__isnull=False)
            case "unreadable":
                return queryset.filter(outcome__in=NEEDS_STAFF)
            case "foreign":
                return queryset.filter(outcome=EventOutcome.NOT_OURS)
        return queryset


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnly, ActionMixin, Listing):
    list_display = ("gateway_event_id", "name", "became", "received_at", "handled_at", "attempts")
    list_filter = (BecameFilter,)
    search_fields = ("gateway_event_id__exact", "gateway_order_id__exact")
    ordering = ("-id",)
    fields = (
        "gateway_event_id", "name", "gateway_order_id", "received_at", "handled_at", "due_at",
        "attempts", "result", "error", "text",
    )  # fmt: skip
    readonly_fields = ("result", "error", "text")
    staff_actions = (
        StaffAction(
            "replay",
            "Replay",
            "The webhook is handled once more, as if it had just come. What it tells that is known"
            " already changes nothing.",
            roles.OPERATE,
            lambda event: event.due_at is None and bool(event.body),
            lambda event, by, _: actions.replay(event.pk, by=by),
        ),
    )

    @admin.display(description="result")
    def became(self, event: InboxEvent) -> str:
        if event.handled_at:
            return event.result
        return "waits" if event.due_at else "given up"

    @admin.display(description="last error")
    def error(self, event: InboxEvent) -> SafeString:
        return format_html(
            '<pre class="body" tabindex="0">{}</pre>', redacted(event.last_error) or "none"
        )

    @admin.display(description="body")
    def text(self, event: InboxEvent) -> SafeString:
        return format_html('<pre class="body" tabindex="0">{}</pre>', masked(bytes(event.body)))
