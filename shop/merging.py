"""A guest signs in: their cart, checkouts and orders become the account's."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from shop import carts
from shop.accounts import User
from shop.checkout.accept import IdempotencyKey
from shop.checkout.jobs import CheckoutJob
from shop.orders import Order


def merge_guest(*, guest_id: int, into_id: int, now: datetime) -> None:
    """
    Hand a guest's belongings over to an account. A repeat finds nothing more to hand over.

    Someone who is no guest, or was switched off, keeps what they have: two accounts are never
    merged. Locks: the guest's jobs, then the carts, as everywhere.
    """
    guests = User.objects.filter(pk=guest_id, is_guest=True, is_active=True)
    if guest_id == into_id or not guests.exists():
        return
    own_keys = IdempotencyKey.objects.filter(owner_id=into_id).values("key")
    with transaction.atomic():
        CheckoutJob.objects.filter(owner_id=guest_id).update(owner_id=into_id)
        Order.objects.filter(owner_id=guest_id).update(owner_id=into_id)
        keys = IdempotencyKey.objects.filter(owner_id=guest_id).exclude(key__in=own_keys)
        keys.update(owner_id=into_id)
        carts.merge(guest_id=guest_id, into_id=into_id, now=now)
