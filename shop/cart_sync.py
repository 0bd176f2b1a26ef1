"""Records of carts on which a storefront and the server disagreed. Operations count them."""

from __future__ import annotations

import logging
from datetime import datetime

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import Error, models

from shop import accounts
from shop.carts import Contents
from shop.telemetry.instruments import CARTS

logger = logging.getLogger(__name__)

MAX_DETAIL_CHARS = 500
STALE = "stale"  # the one metric label of all reports: storefronts choose their own kinds
# The kinds that are counted by name. Every other kind counts as OTHER, so that a buyer cannot fill
# the statistics with invented kinds.
OTHER = "other"
STALE_KINDS = frozenset({"stale_copy", "cart_empty", "cart_not_found", "cart_changed", OTHER})


class SyncEvent(models.Model):
    """
    A storefront reported that its copy of the cart was stale, or we refused to check out a cart
    (`is_refusal`; `kind` is then the error code).
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=40)
    is_refusal = models.BooleanField(default=False)
    cart_id_seen = models.BigIntegerField(null=True, blank=True)
    cart_version_seen = models.BigIntegerField(null=True, blank=True)
    detail = models.CharField(max_length=MAX_DETAIL_CHARS, blank=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "cart sync event"
        indexes = [BrinIndex(fields=["at"], name="sync_event_at", autosummarize=True)]

    def __str__(self) -> str:
        return f"{self.kind} of user {self.owner_id}"


def report_stale(
    owner_id: int,
    *,
    kind: str,
    cart_id_seen: int | None,
    cart_version_seen: int | None,
    detail: str,
    now: datetime,
) -> None:
    """
    Record a storefront's report that its copy of the cart was stale.

    A `kind` outside `STALE_KINDS` is stored as `other`, with the reported kind before `detail`.

    :raises NoSuchBuyer: the owner is deleted or inactive.
    """
    accounts.require_active(owner_id)
    if kind not in STALE_KINDS:
        kind, detail = OTHER, f"{kind}: {detail}"[:MAX_DETAIL_CHARS]
    CARTS.labels(STALE).inc()
    SyncEvent.objects.create(
        owner_id=owner_id,
        kind=kind,
        cart_id_seen=cart_id_seen,
        cart_version_seen=cart_version_seen,
        detail=detail,
        at=now,
    )


def record_refusal(cart: Contents, *, code: str, version_seen: int | None, now: datetime) -> None:
    """
    Record that a POST of this cart was refused with the error `code`.

    A database error is logged and not raised: the buyer still gets the refusal itself.
    """
    CARTS.labels(code).inc()
    try:
        SyncEvent.objects.create(
            owner_id=cart.owner_id,
            kind=code,
            is_refusal=True,
            cart_id_seen=cart.cart_id,
            cart_version_seen=version_seen,
            at=now,
        )
    except Error:
        logger.warning("a refused checkout (%s) is not counted", code, exc_info=True)
