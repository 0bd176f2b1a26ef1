"""Buyers and staff. A guest is a user without an e-mail address, until they register or sign in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.indexes import BrinIndex
from django.db import IntegrityError, models, transaction
from django.utils import timezone


class EmailTaken(Exception):
    """An account with this address exists. Signing in can help, asking again cannot."""


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


def normalise_email(email: str) -> str:
    """Lower case throughout: people do not remember how they typed it the first time."""
    return email.strip().lower()


def register(*, email: str, password: str, guest_id: int | None, now: datetime) -> User:
    """
    Open an account. A guest becomes it, and keeps cart, checkouts and orders.

    A second call with the same guest opens a separate account, because the guest is one no more.

    :raises EmailTaken: the address has an account already.
    """
    user = User(email=normalise_email(email), created_at=now)
    user.set_password(password)
    try:
        with transaction.atomic():
            guests = User.objects.filter(pk=guest_id or 0, is_guest=True, is_active=True)
            if guests.update(email=user.email, password=user.password, is_guest=False):
                return User.objects.get(email=user.email)
            user.save()
    except IntegrityError as error:
        raise EmailTaken(user.email) from error
    return user


def create_guest(*, now: datetime) -> User:
    user = User(is_guest=True, created_at=now)
    user.set_unusable_password()
    user.save()
    return user
