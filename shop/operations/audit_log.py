"""The trail of what people did by hand: who, what, why, and what it came to. Only ever added to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q

MAX_REASON_CHARS = 500  # characters


class ActionRefused(Exception):
    """What was asked for cannot be done; the sentence says why. Nothing was changed."""


class AlreadyDone(ActionRefused):
    """This very instruction was carried out before: a form that was sent twice."""

    def __init__(self) -> None:
        super().__init__("This was done already; nothing was done again.")


class Action(StrEnum):
    RETRY = "retry"
    POLL = "poll"
    CANCEL = "cancel"
    CAPTURE = "capture"
    REFUND = "refund"
    ACCEPT_MONEY = "accept_money"
    GIVE_BACK = "give_back"
    CLOSE_CASE = "close_case"
    REPLAY = "replay"
    RESEND = "resend"
    RESTART = "restart"


class AuditEntry(models.Model):
    """
    One thing done by hand. The table refuses to change or to forget one.

    What it was done to is kept as plain text and ids, not as foreign keys: the entry outlives it.
    """

    key = models.UUIDField(unique=True)  # of the instruction: a form sent twice is refused
    at = models.DateTimeField()
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=16)
    reason = models.CharField(max_length=MAX_REASON_CHARS)
    checkout_id = models.UUIDField(null=True, blank=True)  # the checkout it concerned
    subject = models.CharField(max_length=120)  # what it was done to: "order PK-…", "event …"
    outcome = models.CharField(max_length=300)  # what it came to, in a line

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "audit entries"
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
        # What a person may do by hand; each leaves an entry here. See `shop.roles`.
        permissions = [
            ("operate_checkout", "Can act on checkouts, cases and webhooks, but not refund"),
            ("refund_payment", "Can send money back"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """
    Who wants something done, why, and when. Carried out once: `key` tells it from its repeats.

    :raises Refused: no reason, or a longer one than is kept.
    """

    by_id: int
    reason: str
    now: datetime
    key: uuid.UUID = field(default_factory=uuid.uuid4)

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ActionRefused("Please say why: whoever looks at this later will want to know.")
        if len(self.reason) > MAX_REASON_CHARS:
            raise ActionRefused(f"The reason is too long: at most {MAX_REASON_CHARS} characters.")


def refuse_repeat(action_request: ActionRequest) -> None:
    """:raises AlreadyDone: the instruction is in the trail."""
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
    Add what was done to the trail. Call in the transaction that did it, which a repeat undoes.

    :raises AlreadyDone: the instruction is in the trail.
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
    except IntegrityError:  # the same form, sent twice at once
        refuse_repeat(action_request)
        raise
