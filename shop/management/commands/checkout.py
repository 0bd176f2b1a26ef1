"""
All about one checkout, as text; and what people may do to it, with a reason and a name.

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
from shop.admin.checkouts import matches
from shop.admin.widgets import took
from shop.checkout.jobs import CheckoutJob
from shop.money import format_amount
from shop.operations import actions, detail
from shop.operations.audit_log import ActionRefused, ActionRequest
from shop.operations.detail import CheckoutDetail
from shop.telemetry.redaction import redacted
from tasks.control import notify_for

ACTIONS = {"retry": actions.retry, "poll": actions.poll, "cancel": actions.cancel}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="its id or the beginning of it, an order number, pay_…")
        one_of = parser.add_mutually_exclusive_group()
        one_of.add_argument("--retry", dest="action", action="store_const", const="retry")
        one_of.add_argument("--poll", dest="action", action="store_const", const="poll")
        one_of.add_argument("--cancel", dest="action", action="store_const", const="cancel")
        parser.add_argument("--reason", default="", help="why, for the audit trail")
        parser.add_argument("--as", dest="user", default="", help="your e-mail address")

    def handle(self, *args: Any, **options: Any) -> None:
        job_id = self._find(options["id"])
        if options["action"]:
            self._mend(job_id, options["action"], reason=options["reason"], user=options["user"])
        for line in told(detail.read(job_id), now=timezone.now()):
            self.stdout.write(line)

    def _find(self, name: str) -> UUID:
        found = CheckoutJob.objects.filter(matches(name)).values_list("pk", flat=True)[:2]
        if len(found) != 1:
            raise CommandError(f"{'several checkouts' if found else 'no checkout'}: {name}")
        return found[0]

    def _mend(self, job_id: UUID, action: str, *, reason: str, user: str) -> None:
        person = User.objects.filter(email=normalise_email(user), is_staff=True).first()
        if person is None or not person.has_perm(roles.OPERATE):
            raise CommandError(f"--as {user or '…'}: nobody of that address may do this")
        try:
            by = ActionRequest(person.pk, reason, timezone.now())
            entry = ACTIONS[action](job_id, by=by)
        except ActionRefused as refused:
            raise CommandError(str(refused)) from refused
        notify_for(entry)
        self.stdout.write(f"{action}: {entry.outcome}\n")


def told(it: CheckoutDetail, *, now: datetime) -> Iterator[str]:
    """What operations want to know, a line each."""
    job, order = it.job, it.order
    yield f"{job.pk}  {job.state}  {_amount(job)}"
    yield f"  buyer {job.email or job.owner}; order {order or 'none yet'}"
    if order:
        yield f"  units {order.stock_state}"
    if job.due_at:
        late = f", overdue by {took(now - job.due_at)}" if job.due_at < now else ""
        yield f"  looked at next {_time(job.due_at)}{late}; attempts {job.attempts}"
    if job.error_code:
        yield f"  failed: {job.error_code}: {job.error_message}"
    yield "timeline"
    for stage in it.timeline:
        lasted = took(stage.lasted) if stage.lasted is not None else "now"
        yield f"  {_time(stage.at)}  {stage.state:<17} {lasted:>7}  {stage.because}"
    yield from _lines(
        "attempts that failed",
        (
            f"{_time(one.at)}  {one.step}, attempt {one.number}: {redacted(one.gist)}"
            for one in it.failed_attempts
        ),
    )
    yield from _lines("goods", (f"{li.units} × {li.sku} {li.name}" for li in it.goods))
    yield from _lines(
        "Razorpay orders",
        (
            f"{row}{' (duplicate)' if row.is_duplicate else ''}, polled {row.poll_count}"
            for row in it.gateway_orders
        ),
    )
    yield from _lines("payments", (f"{p}, {_amount(p)} {p.error_description}" for p in it.payments))
    yield from _lines(
        "refunds",
        (f"{r.gateway_refund_id or r.key}, {_amount(r)}, {r.status}, attempts {r.attempts}"
         f" {r.last_error}" for r in it.refunds),
    )  # fmt: skip
    yield from _lines(
        "cases", (f"{case}{' (closed)' if case.closed_at else ''}" for case in it.cases)
    )
    yield from _lines(
        "webhooks",
        (f"{_time(ev.received_at)}  {ev}, {ev.result or 'not handled'}" for ev in it.events),
    )
    yield from _lines(
        "done by hand",
        (
            f"{_time(e.at)}  {e.actor}: {e.action}, {e.outcome} ({e.reason})"
            for e in it.audit_entries
        ),
    )
    if job.last_error:
        yield "last error"
        yield redacted(job.last_error)


def _lines(title: str, lines: Iterator[str]) -> Iterator[str]:
    for n, line in enumerate(lines):
        if n == 0:
            yield title
        yield f"  {line.rstrip()}"


def _time(at: datetime) -> str:
    return f"{timezone.localtime(at):%d %b %H:%M:%S}"


def _amount(row: Any) -> str:
    return format_amount(row.amount_paise, row.currency)
