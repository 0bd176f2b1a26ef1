"""
Print everything about one checkout, or act on it with a reason, as a member of staff.

    manage.py checkout 3f2a81c0-…
    manage.py checkout 3f2a81c0-… --retry --reason "the gateway is back" --as asha@example.com
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from shop import roles
from shop.accounts import User, normalise_email
from shop.checkout.jobs import CheckoutJob
from shop.money import format_amount
from shop.operations import actions, detail, search
from shop.operations.audit_log import ActionRefused, ActionRequest
from shop.operations.detail import CheckoutDetail
from shop.operations.durations import format_duration
from shop.telemetry.redaction import redacted
from tasks.staff_actions import notify_for

ACTIONS = {"retry": actions.retry, "poll": actions.poll, "cancel": actions.cancel}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "id",
            help="its id or the beginning of it, an order number, an id of Razorpay, or an e-mail",
        )
        one_of = parser.add_mutually_exclusive_group()
        one_of.add_argument("--retry", dest="action", action="store_const", const="retry")
        one_of.add_argument("--poll", dest="action", action="store_const", const="poll")
        one_of.add_argument("--cancel", dest="action", action="store_const", const="cancel")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")
        parser.add_argument("--as", dest="user", default="", help="your e-mail address")

    def handle(self, *args: Any, **options: Any) -> None:
        job_id = self._find(options["id"])
        if options["action"]:
            self._act(job_id, options["action"], reason=options["reason"], user=options["user"])
        for line in report(detail.read(job_id), now=timezone.now()):
            self.stdout.write(line)

    def _find(self, name: str) -> UUID:
        found = CheckoutJob.objects.filter(search.checkouts(name)).values_list("pk", flat=True)[:2]
        if len(found) != 1:
            raise CommandError(f"{'several checkouts' if found else 'no checkout'}: {name}")
        return found[0]

    def _act(self, job_id: UUID, action: str, *, reason: str, user: str) -> None:
        person = User.objects.filter(email=normalise_email(user), is_staff=True).first()
        if person is None or not person.has_perm(roles.OPERATE):
            raise CommandError(
                f"--as {user or '…'}: no member of staff with this address may do this"
            )
        try:
            by = ActionRequest(person.pk, reason, timezone.now())
            entry = ACTIONS[action](job_id, by=by)
        except ActionRefused as refused:
            raise CommandError(str(refused)) from refused
        notify_for(entry)
        self.stdout.write(f"{action}: {entry.outcome}\n")


def report(found: CheckoutDetail, *, now: datetime) -> Iterator[str]:
    """The lines that the command prints."""
    job, order = found.job, found.order
    yield f"{job.pk}  {job.state}  {_amount(job)}"
    yield f"  buyer {job.email or job.owner}; order {order or 'none yet'}"
    if order:
        yield f"  units {order.stock_state}"
    if job.due_at:
        late = f", overdue by {format_duration(now - job.due_at)}" if job.due_at < now else ""
        yield f"  due {_time(job.due_at)}{late}; attempts {job.attempts}"
    if job.error_code:
        yield f"  failed: {job.error_code}: {job.error_message}"
    yield "timeline"
    for entry in found.timeline:
        lasted = format_duration(entry.lasted) if entry.lasted is not None else "now"
        yield f"  {_time(entry.at)}  {entry.state:<17} {lasted:>7}  {entry.because}"
    yield from _lines(
        "failed attempts",
        (
            f"{_time(attempt.at)}  {attempt.step}, attempt {attempt.number}:"
            f" {redacted(attempt.gist)}"
            for attempt in found.failed_attempts
        ),
    )
    yield from _lines("items", (f"{line.units} × {line.sku} {line.name}" for line in found.goods))
    yield from _lines(
        "Razorpay orders",
        (
            f"{row}{' (duplicate)' if row.is_duplicate else ''}, polled {row.poll_count}"
            for row in found.gateway_orders
        ),
    )
    yield from _lines(
        "payments",
        (
            f"{payment}, {_amount(payment)} {payment.error_description}"
            for payment in found.payments
        ),
    )
    yield from _lines(
        "refunds",
        (
            f"{refund.gateway_refund_id or refund.key}, {_amount(refund)}, {refund.status},"
            f" attempts {refund.attempts} {refund.last_error}"
            for refund in found.refunds
        ),
    )
    yield from _lines(
        "cases", (f"{case}{' (closed)' if case.closed_at else ''}" for case in found.cases)
    )
    yield from _lines(
        "webhooks",
        (
            f"{_time(event.received_at)}  {event}, {event.result or 'not handled'}"
            for event in found.events
        ),
    )
    yield from _lines(
        "staff actions",
        (
            f"{_time(entry.at)}  {entry.actor}: {entry.action}, {entry.outcome} ({entry.reason})"
            for entry in found.audit_entries
        ),
    )
    if job.last_error:
        yield "last error"
        yield redacted(job.last_error)


def _lines(title: str, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == 0:
            yield title
        yield f"  {line.rstrip()}"


def _time(at: datetime) -> str:
    return f"{timezone.localtime(at):%d %b %H:%M:%S}"


def _amount(row: Any) -> str:
    return format_amount(row.amount_paise, row.currency)
