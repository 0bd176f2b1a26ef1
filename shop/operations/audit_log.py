"""The audit log: who did which staff action, when, why, and with what outcome. Append-only."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q

MAX_REASON_CHARS = 500


class ActionRefused(Exception):
    """The action is not possible; the message says why, for staff. Nothing was changed."""


class AlreadyDone(ActionRefused):
    """This request was carried out before: a form was sent twice."""

    def __init__(self) -> None:
        super().__init__("This was already done. Nothing was done again.")


class Action(StrEnum):
    RETRY = "retry"
    POLL = "poll"
    CANCEL = "cancel"
    CAPTURE = "capture"
    REFUND = "refund"
    ACCEPT_MONEY = "accept_money"
    REFUND_ALL = "refund_all"
    CLOSE_CASE = "close_case"
    REPLAY = "replay"
    RESEND = "resend"


class AuditEntry(models.Model):
    """
    One staff action. A trigger on the table refuses to change or delete an entry.

    The subject is kept as text and the checkout as an id, not as foreign keys: the entry outlives
    them.
    """

    key = models.UUIDField(unique=True)  # of the request: a form sent twice is refused
    at = models.DateTimeField("time")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name="user"
    )
    action = models.CharField(max_length=16)
    reason = models.CharField(max_length=MAX_REASON_CHARS)
    checkout_id = models.UUIDField(null=True, blank=True)  # that the action concerned
    subject = models.CharField(max_length=120)  # for example "order PK-…", "event …"
    outcome = models.CharField(max_length=300)  # one line

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "audit log"
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=[action.value for action in Action]),
                name="audit_entry_action_known",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="audit_entry_says_why"),
        ]
        indexes = [
            models.Index(
                fields=["checkout_id"],
                condition=Q(checkout_id__isnull=False),
                name="audit_entry_of_checkout",
            ),
        ]
        # Needed for staff actions; `shop.roles` grants them.
        permissions = [
            ("operate_checkout", "Can act on checkouts, cases and webhooks, but not refund"),
            ("refund_payment", "Can send money back"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """
    Who asks for a staff action, why, and when. A repeat has the same `key` and is refused.

    :raises ActionRefused: the reason is empty or longer than `MAX_REASON_CHARS`.
    """

    by_id: int
    reason: str
    now: datetime
    key: uuid.UUID = field(default_factory=uuid.uuid4)

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ActionRefused("Please give a reason. It is kept in the audit log.")
        if len(self.reason) > MAX_REASON_CHARS:
            raise ActionRefused(f"The reason may have at most {MAX_REASON_CHARS} characters.")


def refuse_repeat(action_request: ActionRequest) -> None:
    """:raises AlreadyDone: the audit log has an entry of this request."""
    if AuditEntry.objects.filter(key=action_request.key).exists():
        raise AlreadyDone


def record(
    action_request: ActionRequest,
    action: Action,
    *,
    subject: str,
    outcome: str,
    checkout_id: uuid.UUID | None,
) -> AuditEntry:
    """
    Add an entry. Call in the transaction of the action, so that `AlreadyDone` rolls it back.

    :raises AlreadyDone: the audit log has an entry of this request.
    """
    try:
        with transaction.atomic():
            return AuditEntry.objects.create(
                key=action_request.key,
                at=action_request.now,
                actor_id=action_request.by_id,
                action=action,
                reason=action_request.reason.strip(),
                checkout_id=checkout_id,
                subject=subject[:120],
                outcome=outcome[:300],
            )
    except IntegrityError:  # the same form, sent twice at the same moment
        refuse_repeat(action_request)
        raise
