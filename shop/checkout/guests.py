"""Hand a guest's cart, checkouts and orders over to an account, at registration or sign-in."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from shop import accounts, carts
from shop.accounts import User
from shop.checkout import jobs
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import IdempotencyKey
from shop.orders import Order


def register(*, email: str, password: str, guest_id: int | None, now: datetime) -> User:
    """
    Open an account, and hand the guest's cart, checkouts and orders over to it.

    The cart keeps its id and its version, so checkouts that were posted from it stay valid.

    :raises EmailTaken: the address has an account already. The guest keeps everything.
    """
    with transaction.atomic():
        user = accounts.register(email=email, password=password, now=now)
        if guest_id and _take_over(guest_id, user.pk):
            carts.hand_over(guest_id=guest_id, into_id=user.pk)
    return user


def merge_guest(*, guest_id: int, into_id: int, now: datetime) -> None:
    """
    Hand a guest's cart, checkouts and orders over to an account at sign-in; the carts are merged.

    Does nothing for a user who is no guest or is inactive: two accounts are never merged, and a
    repeat changes nothing.
    """
    with transaction.atomic():
        if _take_over(guest_id, into_id):
            carts.merge(guest_id=guest_id, into_id=into_id, now=now)


def _take_over(guest_id: int, into_id: int) -> bool:
    """
    End the guest and move their checkouts, orders and keys. False if there is no such guest.

    Locks: the guest's user row, then their jobs in id order; the carts come after. A POST locks the
    user row first too, so no checkout is posted between these statements.
    """
    if not accounts.end_guest(guest_id):
        return False
    jobs.lock_all(owner_id=guest_id)
    CheckoutJob.objects.filter(owner_id=guest_id).update(owner_id=into_id)
    Order.objects.filter(owner_id=guest_id).update(owner_id=into_id)
    own_keys = IdempotencyKey.objects.filter(owner_id=into_id).values("key")
    keys = IdempotencyKey.objects.filter(owner_id=guest_id).exclude(key__in=own_keys)
    keys.update(owner_id=into_id)
    return True
