"""Razorpay's webhooks: verify, store, notify a worker, respond. Workers do everything else."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from shop.api.errors import INCOMPLETE_BODY, UNAVAILABLE_RETRY_SECONDS, json_error, post_only
from shop.db.redis_client import RedisUnavailable
from shop.payments import inbox, webhook_health
from shop.payments.razorpay import signatures
from tasks.notify import notify
from tasks.registry import RECONCILE_WEBHOOK

MAX_EVENT_ID_CHARS = 64

logger = logging.getLogger(__name__)


@csrf_exempt
@post_only
def razorpay(request: HttpRequest) -> HttpResponse:
    """
    Respond 200 to every genuine event, also to a duplicate and to one that we cannot read.

    Razorpay repeats refused events, and disables an endpoint that has refused them for a day.
    """
    try:
        body = request.body  # the signed bytes: nothing may parse them first
    except UnreadablePostError:
        return json_error(400, "bad_request", INCOMPLETE_BODY)
    signature = request.headers.get("X-Razorpay-Signature", "")
    if not signatures.is_genuine(body, signature, secrets=settings.RAZORPAY_WEBHOOK_SECRETS):
        _count_forged()
        return json_error(401, "signature_invalid", "The signature is missing or wrong.")
    event_id = request.headers.get("X-Razorpay-Event-Id", "")
    if not event_id or len(event_id) > MAX_EVENT_ID_CHARS or not event_id.isprintable():
        event_id = inbox.id_of_bytes(body)
    try:
        fresh = inbox.receive(event_id=event_id, body=body, now=timezone.now())
    except (OperationalError, InterfaceError):
        return json_error(
            503,
            "unavailable",
            "Please deliver this again.",
            retry_after_seconds=UNAVAILABLE_RETRY_SECONDS,
        )
    if fresh:
        notify(RECONCILE_WEBHOOK, event_id=event_id)
    return JsonResponse({"status": "ok"})


def _count_forged() -> None:
    """Count for operations: forged webhooks, or a wrong secret on our side."""
    try:
        webhook_health.count_forged()
    except RedisUnavailable:
        logger.warning("a webhook with a missing or wrong signature, not counted")
