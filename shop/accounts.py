"""
Buyers and staff. A guest is a user without an e-mail address.

When a guest registers or signs in, `shop.checkout.guests` moves the guest's carts, checkouts and
orders to the account and deactivates the guest; the guest's tokens are refused from then on.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac


class EmailTaken(Exception):
    """An account with this e-mail address exists. A repeat fails in the same way."""


class NoSuchBuyer(Exception):
    """The token is genuine, but its user was deleted, deactivated or merged into an account."""


class UserManager(BaseUserManager["User"]):
    def create_superuser(self, email: str, password: str, **extra: Any) -> User:
        """Called by `manage.py createsuperuser`."""
        user = User(email=normalise_email(email), is_staff=True, is_superuser=True, **extra)
        user.set_password(password)
        user.save()
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=normalise_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(unique=True, null=True, blank=True)
    is_guest = models.BooleanField(default=False)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    sign_outs = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(is_guest=True, email=None)
                | models.Q(is_guest=False, email__isnull=False),
                name="user_is_a_guest_or_has_an_email",
            ),
        ]
        indexes = [BrinIndex(fields=["created_at"], name="user_created_at", autosummarize=True)]

    def __str__(self) -> str:
        return self.email or f"guest {self.pk}"

    @classmethod
    def normalize_username(cls, username: Any) -> Any:
        """Called by Django's `clean` for accounts that are created in the admin."""
        return normalise_email(username) if isinstance(username, str) else username

    @property
    def session_hash(self) -> str:
        """
        A hash that every token of this user carries, like `get_session_auth_hash` for sessions.

        It changes with the password, with `is_guest` and with each sign-out.
        `shop.api.auth.session_user` refuses a token with another hash.
        """
        value = f"{self.password} {self.is_guest} {self.sign_outs}"
        key = settings.TOKEN_KEY
        return salted_hmac("shop.accounts", value, secret=key, algorithm="sha256").hexdigest()


def normalise_email(email: str) -> str:
    """
    Return the one spelling under which accounts are stored, found and throttled.

    Lower case, because people do not remember which case they typed; NFKC, because Django's forms
    fold full-width and other letters to plain ones. Idempotent.
    """
    return unicodedata.normalize("NFKC", email).lower().strip()


def register(*, email: str, password: str, now: datetime) -> User:
    """
    Create an account.

    :raises EmailTaken: the address has an account already.
    """
    user = User(email=normalise_email(email), created_at=now)
    user.set_password(password)
    # Not an INSERT that fails: Postgres would log the address.
    User.objects.bulk_create([user], ignore_conflicts=True)
    # The salted password tells our row from one that existed before.
    made = User.objects.filter(email=user.email, password=user.password).first()
    if made is None:
        raise EmailTaken(user.email)
    return made


def create_guest(*, now: datetime) -> User:
    user = User(is_guest=True, created_at=now)
    user.set_unusable_password()
    user.save()
    return user


def end_guest(guest_id: int) -> bool:
    """
    Deactivate a guest for good. Return False if this is not an active guest.

    Of several concurrent callers one gets True. Locks the user's row until the transaction ends;
    `lock_active` waits for it.
    """
    guests = User.objects.filter(pk=guest_id, is_guest=True, is_active=True)
    return bool(guests.update(is_active=False))


def lock_active(user_id: int) -> None:
    """
    Lock this user against a merge or a deactivation until the transaction ends.

    Call it before any other lock is taken.

    :raises NoSuchBuyer: the user is deleted or inactive.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM shop_user WHERE id = %s AND is_active FOR SHARE", [user_id])
        if not cursor.rowcount:
            raise NoSuchBuyer(user_id)


def require_active(user_id: int) -> None:
    """
    Check, without a lock, that the user exists and is active.

    :raises NoSuchBuyer: the user was deleted, deactivated or merged into an account.
    """
    if not User.objects.filter(pk=user_id, is_active=True).exists():
        raise NoSuchBuyer(user_id)


def sign_out(user_id: int) -> None:
    """End every token issued to this user so far, on all devices."""
    User.objects.filter(pk=user_id).update(sign_outs=F("sign_outs") + 1)


def signed_out_of_admin(*, user: AbstractBaseUser | None, **_: Any) -> None:
    """Receiver of Django's `user_logged_out`: signing out of the admin ends the tokens too."""
    if user is not None:
        sign_out(user.pk)
