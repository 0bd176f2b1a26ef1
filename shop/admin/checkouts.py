"""The list of checkouts, in which any is found, and the page of one, which says all about it."""

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
from shop.admin.lookup import MIN_CHARS, Lookup, buyers_of, orders_of
from shop.admin.masking import masked
from shop.admin.widgets import InRupees, Listing, ReadOnly, choice_filter, pill, took
from shop.checkout import holds, jobs
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import STEP_OF, TRANSITIONS, WITH_TASK, State
from shop.operations import actions, detail
from shop.operations.audit_log import AuditEntry
from shop.operations.detail import CheckoutDetail
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
UUID_CHARS = 32


class StuckFilter(admin.SimpleListFilter):
    title = "stuck"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Stuck now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "yes":
            return queryset
        return queryset.filter(pk__in=jobs.stuck(now=timezone.now()).values("pk"))


class StepFilter(admin.SimpleListFilter):
    """Which step looks at it next."""

    title = "step"
    parameter_name = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(step, step.replace("_", " ").capitalize()) for step in STEP_OF.values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        states = [state for state, step in STEP_OF.items() if step == self.value()]
        return queryset.filter(state__in=states) if states else queryset


# Of these parameters each narrows the list to rows that an index finds, whatever their age.
NARROWING = frozenset({"q", "stuck", "step", "state__exact"})


class AgeFilter(admin.SimpleListFilter):
    """
    Unasked, the list shows the last day, and of failures the last week. All ages are offered where
    a name or a state is asked for, too: else the whole table would be read and sorted.
    """

    title = "age"
    parameter_name = "age"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.is_narrow = bool(NARROWING & set(request.GET))  # before: it decides what is offered
        super().__init__(request, params, model, model_admin)
        fallback = "week" if "error_code__exact" in request.GET else "day"
        self.unasked = "any" if self.is_narrow else fallback

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(slug, label) for slug, (label, _) in AGES.items() if slug in self._offered()]

    def _offered(self) -> set[str]:
        return set(AGES) if self.is_narrow else set(AGES) - {"any"}

    def chosen(self) -> str:
        value = self.value()
        return value if value in self._offered() else self.unasked

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


def matches(term: str) -> Q:
    """
    Checkouts that go by this: an id or its beginning, an order number, an id of Razorpay's, the
    beginning of an e-mail address. Each by an index.
    """
    if len(term) < MIN_CHARS:
        return Q(pk__in=[])
    if orders := orders_of(term):
        return Q(order_id__in=orders)
    return _id_begins(term) | Q(owner_id__in=buyers_of(term))


def _id_begins(term: str) -> Q:
    digits = term.lower().replace("-", "")
    if len(digits) > UUID_CHARS or not all(it in "0123456789abcdef" for it in digits):
        return Q(pk__in=[])
    first = uuid.UUID(hex=digits.ljust(UUID_CHARS, "0"))
    last = uuid.UUID(hex=digits.ljust(UUID_CHARS, "f"))
    return Q(pk__gte=first, pk__lte=last)


def may_retry(job: CheckoutJob) -> bool:
    return job.state in WITH_TASK


def may_cancel(job: CheckoutJob) -> bool:
    return State.CANCELLED in TRANSITIONS[State(job.state)]


def is_in_review(job: CheckoutJob) -> bool:
    return job.state == State.IN_REVIEW


def _left(job: CheckoutJob) -> tuple[int, str]:
    return detail.refundable(job)


def _refund(job: CheckoutJob, by: Any, amount_paise: int | None) -> AuditEntry:
    assert job.order is not None
    return actions.refund(job.order, amount_paise=amount_paise, by=by).entry


ACTIONS = (
    StaffAction(
        "retry",
        "Retry now",
        "Its step looks at it at once, and its attempts are counted anew.",
        roles.OPERATE,
        may_retry,
        lambda job, by, _: actions.retry(job.pk, by=by),
    ),
    StaffAction(
        "poll",
        "Ask Razorpay now",
        "Razorpay is asked what became of its money, and the checkout follows the answer.",
        roles.OPERATE,
        lambda job: job.order_id is not None and job.state not in WITH_TASK,
        lambda job, by, _: actions.poll(job.pk, by=by),
    ),
    StaffAction(
        "accept",
        "Accept the money",
        "The money is taken as it is, whatever its amount: the order is paid, its units are sold,"
        " its cases are closed.",
        roles.OPERATE,
        is_in_review,
        lambda job, by, _: actions.accept_money(job.pk, by=by),
    ),
    StaffAction(
        "give-back",
        "Give the money back",
        "All captured money of this checkout goes back to the buyer, its units return to the shelf,"
        " its cases are closed. If all has gone back already, the checkout ends.",
        roles.REFUND,
        is_in_review,
        lambda job, by, _: actions.give_back(job.pk, by=by),
        is_grave=True,
    ),
    StaffAction(
        "refund",
        "Refund",
        "Money of this paid order goes back to the buyer: a part, or all that is left. The order"
        " stays paid, its units stay sold.",
        roles.REFUND,
        lambda job: job.state == State.PAID,
        _refund,
        left=_left,
        is_grave=True,
    ),
    StaffAction(
        "cancel",
        "Cancel and release",
        "The checkout ends unpaid, and its units return to the shelf. The buyer may order again.",
        roles.OPERATE,
        may_cancel,
        lambda job, by, _: actions.cancel(job.pk, by=by),
        is_grave=True,
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
class CheckoutJobAdmin(InRupees, ReadOnly, ActionMixin, Lookup, Listing):
    list_display = ("short_id", "standing", "buyer", "number", "amount", "age")
    list_filter = (
        StuckFilter,
        choice_filter("state", State),
        StepFilter,
        AgeFilter,
        choice_filter("error_code", FAILURE_CODES, "failure"),
    )
    search_help_text = (
        "Checkout id or its beginning, order number (which is Razorpay's receipt), order_…, pay_…"
        " or rfnd_…, e-mail"
    )
    list_select_related = ("order", "owner")
    ordering = ("-created_at",)
    sortable_by = ("age", "amount")
    staff_actions = ACTIONS

    def matches(self, term: str) -> Q:
        return matches(term)

    @admin.display(description="checkout")
    def short_id(self, job: CheckoutJob) -> str:
        return str(job.pk)[:8]

    @admin.display(description="state")
    def standing(self, job: CheckoutJob) -> SafeString:
        """Its state, and beneath it why it failed, or at which step it is."""
        return format_html('{}<span class="beneath">{}</span>', pill(job.state), _beneath(job))

    def buyer(self, job: CheckoutJob) -> str:
        return job.email or str(job.owner)

    @admin.display(description="order", empty_value="–")
    def number(self, job: CheckoutJob) -> str | None:
        return job.order.number if job.order else None

    @admin.display(ordering="created_at")
    def age(self, job: CheckoutJob) -> str:
        return took(timezone.now() - job.created_at)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """All about one checkout. Nothing can be posted here; see `mend_view`."""
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
                "it": found,
                "job": found.job,
                "buttons": self.buttons(request, found.job),
                "parts": self._parts(request, found),
                "last_error": redacted(found.job.last_error),
                "failed_attempts": [
                    ShownAttempt(it, redacted(it.gist), redacted(it.error))
                    for it in found.failed_attempts
                ],
                "events": [
                    ShownEvent(it, masked(bytes(it.body)), redacted(it.last_error))
                    for it in found.events
                ],
                "flower_url": flower_search(found.job.pk),
                "is_stuck": jobs.stuck(now=now).filter(pk=found.job.pk).exists(),
                "now": now,
                "overdue": now - found.job.due_at if found.job.due_at else None,
            },
        )

    def _parts(self, request: HttpRequest, found: CheckoutDetail) -> list[tuple[str, list[Button]]]:
        """Its payments, refunds, cases and events that wait to be mended on their own."""
        parts = []
        for row in (*found.authorized, *found.failed_refunds, *found.cases, *found.dead_events):
            page = self.admin_site.get_model_admin(type(row))
            if isinstance(page, ActionMixin) and (buttons := page.buttons(request, row)):
                parts.append((str(row), buttons))
        return parts


def _beneath(job: CheckoutJob) -> str:
    if job.error_code:
        return job.error_code
    step = STEP_OF.get(State(job.state), "")
    return f"{step}, attempts {job.attempts}" if job.attempts else step


def flower_search(checkout_id: uuid.UUID) -> str:
    """
    Flower's list of tasks, narrowed to those that name this checkout.

    Its page takes no free text, but `name=` is put before a search that may be any: two terms, so
    that tasks of both kinds are found.
    """
    search = f"checkout. {checkout_id} OR name:payments. {checkout_id}"
    return f"{settings.FLOWER_URL}/tasks?name={quote(search)}"
