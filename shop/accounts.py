"""
Buyers and staff. A guest is a user without an e-mail address.

A guest who registers or signs in hands everything over to the account (`shop.checkout.guests`) and
is switched off: tokens of the guest open nothing from then on.
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
    """An account with this address exists. Signing in can help, asking again cannot."""


class NoSuchBuyer(Exception):
    """The token is genuine, but its user was deleted, switched off or merged into an account."""


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
        """Called by `clean`, for accounts that are made in the admin."""
        return normalise_email(username) if isinstance(username, str) else username

    @property
    def session_hash(self) -> str:
        """
        What every token of this user carries, as Django's sessions carry `get_session_auth_hash`.

        It changes with the password, with `is_guest` and at each sign-out. A token with another one
        is refused by `shop.api.auth.signed_in`.
        """
        value = f"{self.password} {self.is_guest} {self.sign_outs}"
        key = settings.TOKEN_KEY
        return salted_hmac("shop.accounts", value, secret=key, algorithm="sha256").hexdigest()


def normalise_email(email: str) -> str:
    """
    The one spelling of an address, under which accounts are stored and found and guesses counted.

    Lower case, because people do not remember how they typed it; NFKC, because Django's forms fold
    full-width and other letters to plain ones. A repeat changes nothing.
    """
    return unicodedata.normalize("NFKC", email).lower().strip()


def register(*, email: str, password: str, now: datetime) -> User:
    """:raises EmailTaken: the address has an account already."""
    user = User(email=normalise_email(email), created_at=now)
    user.set_password(password)
    # No error by design: Postgres would log the address that is taken.
    User.objects.bulk_create([user], ignore_conflicts=True)
    # The salt of its password tells our row from one that was there.
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
    Switch a guest off, for good. False if this is no guest, or was switched off before: of several
    callers at once, one gets True.

    Locks the user's row until the transaction ends; `lock_active` waits for it.
    """
    guests = User.objects.filter(pk=guest_id, is_guest=True, is_active=True)
    return bool(guests.update(is_active=False))


def lock_active(user_id: int) -> None:
    """
    Keep this user from being merged or switched off until the transaction ends. Call it before any
    other lock is taken.

    :raises NoSuchBuyer: they were.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM shop_user WHERE id = %s AND is_active FOR SHARE", [user_id])
        if not cursor.rowcount:
            raise NoSuchBuyer(user_id)


def sign_out(user_id: int) -> None:
    """End all tokens of this user, on every device. A repeat ends those that were made since."""
    User.objects.filter(pk=user_id).update(sign_outs=F("sign_outs") + 1)


def signed_out_of_admin(*, user: AbstractBaseUser | None, **_: Any) -> None:
    """Signing out of the admin ends the tokens too. Receives Django's `user_logged_out`."""
    if user is not None:
        sign_out(user.pk)
