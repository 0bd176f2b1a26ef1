"""Razorpay's webhooks: verify, store, ring, answer. All work comes after."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from shop.api.errors import CUT_SHORT, DATABASE_AWAY_RETRY_SECONDS, plain, post_only
from shop.db.redis_client import RedisUnavailable
from shop.payments import inbox, webhook_health
from shop.payments.razorpay import signatures
from tasks.notify import notify
from tasks.registry import RECONCILE_WEBHOOK

MAX_EVENT_ID = 64

logger = logging.getLogger(__name__)


@csrf_exempt
@post_only
def razorpay(request: HttpRequest) -> HttpResponse:
    """
    200 for whatever is genuine, also the second time, also what we cannot read: Razorpay repeats
    what is refused, and switches an endpoint off that refuses for a day.
    """
    try:
        body = request.body  # the signed bytes: nothing may parse them first
    except UnreadablePostError:
        return plain(400, "bad_request", CUT_SHORT)
    signature = request.headers.get("X-Razorpay-Signature", "")
    if not signatures.is_genuine(body, signature, secrets=settings.RAZORPAY_WEBHOOK_SECRETS):
        _count_forged()
        return plain(401, "signature_invalid", "The signature is missing or wrong.")
    event_id = request.headers.get("X-Razorpay-Event-Id", "")
    if len(event_id) > MAX_EVENT_ID or not event_id.isprintable():
        event_id = ""  # not one of theirs; the bytes themselves tell events apart
    try:
        fresh = inbox.receive(event_id=event_id, body=body, now=timezone.now())
    except (OperationalError, InterfaceError):
        return plain(
            503,
            "unavailable",
            "Please deliver this again.",
            retry_after_seconds=DATABASE_AWAY_RETRY_SECONDS,
        )
    if fresh:
        notify(RECONCILE_WEBHOOK, event_id=event_id)
    return JsonResponse({"status": "ok"})


def _count_forged() -> None:
    """A wrong secret of ours looks like a forger: either way operations want to know how often."""
    try:
        webhook_health.count_forged()
    except RedisUnavailable:
        logger.warning("a webhook with a missing or wrong signature, not counted")
