"""Who has to look at what was done by hand, so that nobody waits for the sweeper."""

from __future__ import annotations

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.trail import Action, AuditEntry
from tasks.app import ring
from tasks.checkout import RINGS
from tasks.payments import CAPTURE, CHECK_PAYMENTS, RECONCILE_WEBHOOK, SEND_REFUNDS

TASKS: dict[str, str] = {
    Action.ASK: CHECK_PAYMENTS,
    Action.CAPTURE: CAPTURE,
    Action.REFUND: SEND_REFUNDS,
    Action.ACCEPT_MONEY: SEND_REFUNDS,  # of what was captured beside it
    Action.GIVE_BACK: SEND_REFUNDS,
    Action.RESEND: SEND_REFUNDS,
}


def ring_for(entry: AuditEntry) -> None:
    """Ring for what `entry` has made due. Call after its commit; see `tasks.app.ring`."""
    if entry.action == Action.REPLAY:
        ring(RECONCILE_WEBHOOK, event_id=entry.subject.removeprefix("event "))
    elif task := _task(entry):
        ring(task, checkout_id=str(entry.checkout_id))


def _task(entry: AuditEntry) -> str | None:
    if entry.action != Action.RETRY:
        return TASKS.get(entry.action)
    jobs = CheckoutJob.objects.filter(pk__in=[entry.checkout_id]).values_list("state", flat=True)
    return next((RINGS.get(State(state)) for state in jobs), None)
