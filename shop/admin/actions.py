"""
Staff actions in the browser: a button on the page of a row, then a page that asks for a reason.

A button is shown if the user has the permission and the action applies to the row. Both are checked
again on submit; the second by the domain function, under its locks.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from shop.money import CURRENCY, DECIMALS, major_units
from shop.operations.audit_log import (
    MAX_REASON_CHARS,
    ActionRefused,
    ActionRequest,
    AlreadyDone,
    AuditEntry,
)
from shop.payments.refunds import RefundRefused
from tasks.staff_actions import notify_for


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=MAX_REASON_CHARS,
        label="Reason",
        help_text="Kept in the audit log with your name.",
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True}),
    )
    key = forms.UUIDField(widget=forms.HiddenInput)  # a form that is sent twice is carried out once


class AmountForm(ReasonForm):
    """Also asks for an amount in `currency`."""

    field_order = ("amount", "reason", "key")

    def __init__(self, *args: Any, currency: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._currency = currency
        smallest = major_units(1, currency)
        self.fields["amount"] = forms.DecimalField(
            label=f"Amount in {'rupees' if currency == CURRENCY else currency}",
            max_digits=15,
            decimal_places=DECIMALS.get(currency, 2),
            min_value=smallest,
        )
        self.order_fields(self.field_order)

    @property
    def minor_units(self) -> int:
        amount: Decimal = self.cleaned_data["amount"]
        return int(amount / major_units(1, self._currency))


@dataclass(frozen=True)
class StaffAction:
    """
    A button on the pages of one table, and the domain function that it calls.

    With `max_amount`, the page also asks for an amount. It returns the highest amount, in minor
    units, and the currency; `run` then gets the amount in minor units, otherwise None.
    """

    slug: str
    label: str
    explanation: str
    permission: str
    applies_to: Callable[[Any], bool]
    run: Callable[[Any, ActionRequest, int | None], AuditEntry]
    max_amount: Callable[[Any], tuple[int, str]] | None = None
    is_destructive: bool = False


@dataclass(frozen=True)
class Button:
    label: str
    url: str
    is_destructive: bool


class ActionMixin(admin.ModelAdmin):
    """Adds the buttons of the actions that the row and the user's permissions allow."""

    staff_actions: tuple[StaffAction, ...] = ()
    change_form_template = "admin/shop/with_actions.html"

    def get_urls(self) -> list[URLPattern]:
        action = path(
            "<path:object_id>/action/<slug:slug>/",
            self.admin_site.admin_view(self.action_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_action",
        )
        return [action, *super().get_urls()]

    def buttons(self, request: HttpRequest, row: Model) -> list[Button]:
        return [
            Button(action.label, self._url("action", row.pk, action.slug), action.is_destructive)
            for action in self.staff_actions
            if request.user.has_perm(action.permission) and action.applies_to(row)
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if (row := kwargs.get("obj")) is not None:
            context["buttons"] = self.buttons(request, row)
        return super().render_change_form(request, context, *args, **kwargs)

    def action_view(self, request: HttpRequest, object_id: str, slug: str) -> HttpResponse:
        """Ask for a reason, then run the action. 403 without permission, 404 without the row."""
        action = next((each for each in self.staff_actions if each.slug == slug), None)
        if action is None:
            raise Http404
        if not (request.user.has_perm(action.permission) and self.has_view_permission(request)):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        form = self._form(request, action, row)
        if request.method == "POST" and form.is_valid():
            try:
                return self._run(request, action, row, form)
            except AlreadyDone as done:
                messages.info(request, str(done))
                return HttpResponseRedirect(self._url("change", row.pk))
            except (ActionRefused, RefundRefused) as refused:
                form.add_error(None, str(refused))
        return TemplateResponse(
            request,
            "admin/shop/action.html",
            {
                **self.admin_site.each_context(request),
                "title": action.label,
                "opts": self.opts,
                "row": row,
                "row_url": self._url("change", row.pk),
                "action": action,
                "form": form,
            },
        )

    def _form(self, request: HttpRequest, action: StaffAction, row: Model) -> ReasonForm:
        data = request.POST if request.method == "POST" else None
        initial: dict[str, object] = {"key": uuid.uuid4()}
        if action.max_amount is None:
            return ReasonForm(data, initial=initial)
        max_amount, currency = action.max_amount(row)
        initial["amount"] = str(major_units(max_amount, currency))
        return AmountForm(data, initial=initial, currency=currency)

    def _run(
        self, request: HttpRequest, action: StaffAction, row: Model, form: ReasonForm
    ) -> HttpResponse:
        assert request.user.pk is not None
        action_request = ActionRequest(
            by_id=request.user.pk,
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
            key=form.cleaned_data["key"],
        )
        entry = action.run(
            row, action_request, form.minor_units if isinstance(form, AmountForm) else None
        )
        notify_for(entry)
        messages.success(request, f"{action.label}: {entry.outcome}")
        if entry.checkout_id:
            return HttpResponseRedirect(
                reverse("admin:shop_checkoutjob_change", args=[entry.checkout_id])
            )
        return HttpResponseRedirect(self._url("change", row.pk))

    def _url(self, page: str, *args: object) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)
