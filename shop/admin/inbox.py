"""The webhooks of Razorpay, and how each was handled."""

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


class OutcomeFilter(admin.SimpleListFilter):
    title = "result"
    parameter_name = "became"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("dead", "Given up"),
            ("waiting", "Waiting"),
            ("unreadable", "Unreadable"),
            ("foreign", "Of another shop"),
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
    list_display = ("gateway_event_id", "name", "status", "received_at", "handled_at", "attempts")
    list_filter = (OutcomeFilter,)
    search_fields = ("gateway_event_id__exact", "gateway_order_id__exact")
    search_help_text = "Event id, order_…"
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
            "A worker handles this webhook again, as if it had just arrived. This is safe: facts"
            " that are known already change nothing.",
            roles.OPERATE,
            lambda event: event.due_at is None and bool(event.body),
            lambda event, by, _: actions.replay_webhook(event.pk, by=by),
        ),
    )

    @admin.display(description="result")
    def status(self, event: InboxEvent) -> str:
        if event.handled_at:
            return event.result
        return "waiting" if event.due_at else "given up"

    @admin.display(description="last error")
    def error(self, event: InboxEvent) -> SafeString:
        return format_html(
            '<pre class="body" tabindex="0">{}</pre>', redacted(event.last_error) or "none"
        )

    @admin.display(description="body")
    def text(self, event: InboxEvent) -> SafeString:
        return format_html('<pre class="body" tabindex="0">{}</pre>', masked(bytes(event.body)))
