"""The list of checkouts, and the page with everything about one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from shop import roles
from shop.admin.actions import ActionMixin, Button, StaffAction
from shop.admin.masking import masked
from shop.admin.search import SearchMixin
from shop.admin.widgets import InRupees, Listing, ReadOnly, badge, choice_filter
from shop.checkout import holds, jobs
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import OPEN, STEP_OF, WITH_TASK, State
from shop.operations import actions, detail, search
from shop.operations.audit_log import AuditEntry
from shop.operations.detail import CheckoutDetail
from shop.operations.durations import format_duration
from shop.payments.inbox import InboxEvent
from shop.telemetry.redaction import redacted

FAILURE_CODES = (
    "cart_empty", "cart_changed", "price_changed", "product_unavailable", "out_of_stock",
    "amount_too_small", "gateway_rejected", "gateway_unavailable", "internal_error",
    *holds.REFUSALS,
)  # fmt: skip
AGES = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last day", timedelta(days=1)),
    "week": ("Last week", timedelta(days=7)),
    "any": ("Any", None),
}


class StuckFilter(admin.SimpleListFilter):
    title = "progress"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Stuck now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "yes":
            return queryset
        return queryset.filter(pk__in=jobs.stuck(now=timezone.now()).values("pk"))


class StepFilter(admin.SimpleListFilter):
    """By the step that processes the checkout next."""

    title = "step"
    parameter_name = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(step, step.replace("_", " ").capitalize()) for step in STEP_OF.values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        states = [state for state, step in STEP_OF.items() if step == self.value()]
        return queryset.filter(state__in=states) if states else queryset


class FailureFilter(choice_filter("error_code", FAILURE_CODES, "failure")):  # type: ignore[misc]
    """By why the checkout failed; `state` lets the index of ended checkouts serve it."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found = super().queryset(request, queryset)
        return found.filter(state=State.FAILED) if self.value() else found


# Each of these parameters limits the list to rows that an index finds, whatever their age.
INDEXED = frozenset({"q", "stuck", "step", "state__exact"})


class AgeFilter(admin.SimpleListFilter):
    """
    By default the list shows the last day, or the last week of one kind of failure. "Any" is
    offered together with a search or an indexed filter; alone it would sort the whole table.
    """

    title = "age"
    parameter_name = "age"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.is_indexed = bool(INDEXED & set(request.GET))  # `super` calls `lookups`
        super().__init__(request, params, model, model_admin)
        fallback = "week" if "error_code__exact" in request.GET else "day"
        self.default = "any" if self.is_indexed else fallback

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(slug, label) for slug, (label, _) in AGES.items() if slug in self._offered()]

    def _offered(self) -> set[str]:
        return set(AGES) if self.is_indexed else set(AGES) - {"any"}

    def chosen(self) -> str:
        value = self.value()
        return value if value in self._offered() else self.default

    def choices(self, changelist: Any) -> Any:
        for slug, label in self.lookup_choices:
            yield {
                "selected": slug == self.chosen(),
                "query_string": changelist.get_query_string({self.parameter_name: slug}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        age = AGES[self.chosen()][1]
        return queryset.filter(created_at__gte=timezone.now() - age) if age else queryset


def may_retry(job: CheckoutJob) -> bool:
    return job.state in WITH_TASK


def may_cancel(job: CheckoutJob) -> bool:
    return State(job.state) in OPEN


def is_in_review(job: CheckoutJob) -> bool:
    return job.state == State.IN_REVIEW


def _refund(job: CheckoutJob, by: Any, amount_paise: int | None) -> AuditEntry:
    assert job.order is not None
    return actions.refund(job.order, amount_paise=amount_paise, by=by).entry


ACTIONS = (
    StaffAction(
        "retry",
        "Retry now",
        "A worker runs the next step of this checkout at once. The count of failed attempts starts"
        " at zero again.",
        roles.OPERATE,
        may_retry,
        lambda job, by, _: actions.retry(job.pk, by=by),
    ),
    StaffAction(
        "poll",
        "Ask Razorpay now",
        "Asks Razorpay for the payments of this checkout, and updates the checkout accordingly.",
        roles.OPERATE,
        lambda job: job.order_id is not None and job.state not in WITH_TASK,
        lambda job, by, _: actions.poll(job.pk, by=by),
    ),
    StaffAction(
        "accept",
        "Accept the money",
        "Accepts the payment although its amount or currency differs: the order is paid, its units"
        " are sold, and its cases are closed.",
        roles.OPERATE,
        is_in_review,
        lambda job, by, _: actions.accept_money(job.pk, by=by),
    ),
    StaffAction(
        "refund-all",
        "Refund everything",
        "Refunds all captured money of this checkout to the buyer. Its units can be sold again, and"
        " its cases are closed. If nothing is left to refund, this ends the checkout.",
        roles.REFUND,
        is_in_review,
        lambda job, by, _: actions.refund_all(job.pk, by=by),
        is_destructive=True,
    ),
    StaffAction(
        "refund",
        "Refund",
        "Refunds money of this paid order to the buyer: a part, or all that is left. The order"
        " stays paid, and its units stay sold.",
        roles.REFUND,
        lambda job: job.state == State.PAID,
        _refund,
        max_amount=detail.refundable,
        is_destructive=True,
    ),
    StaffAction(
        "cancel",
        "Cancel and release",
        "Ends this checkout unpaid. Its units can be sold again, and the buyer can order again.",
        roles.OPERATE,
        may_cancel,
        lambda job, by, _: actions.cancel(job.pk, by=by),
        is_destructive=True,
    ),
)


@dataclass(frozen=True, slots=True)
class ShownEvent:
    event: InboxEvent
    body: str
    error: str


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    attempt: FailedAttempt
    gist: str
    error: str


@admin.register(CheckoutJob)
class CheckoutJobAdmin(InRupees, ReadOnly, ActionMixin, SearchMixin, Listing):
    list_display = ("short_id", "state_and_step", "buyer", "number", "amount", "age")
    list_filter = (
        StuckFilter,
        choice_filter("state", State),
        StepFilter,
        AgeFilter,
        FailureFilter,
    )
    search_help_text = (
        "Checkout id or its beginning, order number (the receipt at Razorpay), order_…, pay_… or"
        " rfnd_…, e-mail address"
    )
    list_select_related = ("order", "owner")
    ordering = ("-created_at",)
    sortable_by = ("age", "amount")
    staff_actions = ACTIONS

    def matches(self, term: str) -> Q:
        return search.checkouts(term)

    @admin.display(description="checkout")
    def short_id(self, job: CheckoutJob) -> str:
        return str(job.pk)[:8]

    @admin.display(description="state")
    def state_and_step(self, job: CheckoutJob) -> SafeString:
        """The state, and below it the reason of the failure or the current step."""
        return format_html('{}<span class="below">{}</span>', badge(job.state), _below(job))

    def buyer(self, job: CheckoutJob) -> str:
        return job.email or str(job.owner)

    @admin.display(description="order", empty_value="–")
    def number(self, job: CheckoutJob) -> str | None:
        return job.order.number if job.order else None

    @admin.display(ordering="created_at")
    def age(self, job: CheckoutJob) -> str:
        return format_duration(timezone.now() - job.created_at)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Everything about one checkout. Read-only; actions are posted to `action_view`."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = detail.read(uuid.UUID(object_id))
        except (ValueError, CheckoutJob.DoesNotExist):
            raise Http404 from None
        now = timezone.now()
        return TemplateResponse(
            request,
            "admin/shop/checkoutjob/detail.html",
            {
                **self.admin_site.each_context(request),
                "title": f"Checkout {found.job.pk}",
                "opts": self.opts,
                "media": self.media,
                "detail": found,
                "job": found.job,
                "buttons": self.buttons(request, found.job),
                "related_actions": self._related_actions(request, found),
                "last_error": redacted(found.job.last_error),
                "failed_attempts": [
                    ShownAttempt(attempt, redacted(attempt.gist), redacted(attempt.error))
                    for attempt in found.failed_attempts
                ],
                "events": [
                    ShownEvent(event, masked(bytes(event.body)), redacted(event.last_error))
                    for event in found.events
                ],
                "flower_url": flower_search(found.job.pk),
                "is_stuck": jobs.stuck(now=now).filter(pk=found.job.pk).exists(),
                "now": now,
                "overdue": now - found.job.due_at if found.job.due_at else None,
            },
        )

    def _related_actions(
        self, request: HttpRequest, found: CheckoutDetail
    ) -> list[tuple[str, list[Button]]]:
        """The buttons of its payments, refunds, cases and webhooks that need an action."""
        related = []
        for row in (*found.authorized, *found.failed_refunds, *found.cases, *found.given_up_events):
            page = self.admin_site.get_model_admin(type(row))
            if isinstance(page, ActionMixin) and (buttons := page.buttons(request, row)):
                related.append((str(row), buttons))
        return related


def _below(job: CheckoutJob) -> str:
    if job.error_code:
        return job.error_code
    step = STEP_OF.get(State(job.state), "")
    return f"{step}, attempts {job.attempts}" if job.attempts else step


def flower_search(checkout_id: uuid.UUID) -> str:
    """
    The URL of Flower's list of tasks, limited to the tasks of this checkout.

    The list has no parameter for free text, but it puts `name:` before any value of `name`. The two
    terms find the tasks `checkout.…` and `payments.…` that have the id in their arguments.
    """
    search = f"checkout. {checkout_id} OR name:payments. {checkout_id}"
    return f"{settings.FLOWER_URL}/tasks?name={quote(search)}"
