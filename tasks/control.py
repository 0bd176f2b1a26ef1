"""
What mending by hand needs of Celery: who has to look now, so that nobody waits for the sweeper, and
workers that are asked to start anew.
"""

from __future__ import annotations

from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerUnavailable

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.operations import audit_log
from shop.operations.audit_log import Action, ActionRefused, ActionRequest, AuditEntry
from tasks.app import app
from tasks.notify import notify
from tasks.registry import CAPTURE, CHECK_PAYMENTS, NEXT_TASK, RECONCILE_WEBHOOK, SEND_REFUNDS

TASKS: dict[str, str] = {
    Action.POLL: CHECK_PAYMENTS,
    Action.CAPTURE: CAPTURE,
    Action.REFUND: SEND_REFUNDS,
    Action.ACCEPT_MONEY: SEND_REFUNDS,  # of what was captured beside it
    Action.GIVE_BACK: SEND_REFUNDS,
    Action.RESEND: SEND_REFUNDS,
}


def notify_for(entry: AuditEntry) -> None:
    """Ring for what `entry` has made due. Call after its commit; see `tasks.notify.notify`."""
    if entry.action == Action.REPLAY:
        notify(RECONCILE_WEBHOOK, event_id=entry.subject.removeprefix("event "))
    elif task := _task(entry):
        notify(task, checkout_id=str(entry.checkout_id))


def _task(entry: AuditEntry) -> str | None:
    if entry.action != Action.RETRY:
        return TASKS.get(entry.action)
    jobs = CheckoutJob.objects.filter(pk__in=[entry.checkout_id]).values_list("state", flat=True)
    return next((NEXT_TASK.get(State(state)) for state in jobs), None)


# --- workers that stopped taking tasks -----------------------------------------------------------

# Who takes from each queue, by the first part of its node's name: see the Procfile.
WORKERS = {"checkout": "worker", "gateway": "gateway", "webhooks": "worker"}

ANSWER_SECONDS = 1.0  # that workers have to say that they are there


def restart(queue: str, *, by: ActionRequest) -> AuditEntry:
    """
    Ask the workers of `queue` to finish what they are at and to end. Whoever runs them (`make up`,
    compose, systemd) starts them again.

    Asked are those that say that they take from the queue, and those whose name says that they
    should: a worker that has stopped taking from a queue does not list it any more. One that hangs
    cannot answer; that nobody did is written down, too. Takes `ANSWER_SECONDS`, without a
    transaction. No task is lost: a message is only "look", and rows stay due.

    :raises Refused: there is no such queue, or the broker is away.
    """
    if queue not in WORKERS:
        raise ActionRefused("No worker takes from it: restart the process by hand.")
    audit_log.refuse_repeat(by)
    with app.connection_for_write() as broker:
        away: tuple[type[BaseException], ...] = (BrokerUnavailable, *broker.connection_errors)
        try:
            asked = _workers_of(queue, broker)
            with transaction.atomic():  # what cannot be written down is not done
                entry = _note(queue, asked, by=by)
                if asked:
                    app.control.shutdown(destination=asked, connection=broker)
        except away as error:
            raise ActionRefused(
                "Redis is away, and without it no worker hears us. Bring it back first: they go on"
                " by themselves then."
            ) from error
    return entry


def _workers_of(queue: str, broker: Connection) -> list[str]:
    """The names of their nodes, of those that answer; one that stumbles answers `{"error": …}`."""
    answers = app.control.inspect(timeout=ANSWER_SECONDS, connection=broker).active_queues() or {}
    return sorted(
        name
        for name, queues in answers.items()
        if name.partition("@")[0] == WORKERS[queue]
        or queue in [it["name"] for it in queues if isinstance(it, dict)]
    )


def _note(queue: str, asked: list[str], *, by: ActionRequest) -> AuditEntry:
    outcome = (
        f"asked {', '.join(asked)} to restart"
        if asked
        else "no worker answered: restart the process by hand"
    )
    return audit_log.record(
        by, Action.RESTART, subject=f"workers of {queue}", outcome=outcome, checkout_id=None
    )
