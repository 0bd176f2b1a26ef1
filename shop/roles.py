"""
Who may do what in the admin: three groups, made after every migrate.

Here and not in a migration, because Django writes permissions down after the migrations, and a
test that empties the tables has them written anew. What a shop grants beyond this stays granted.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

VIEWER, OPERATOR, REFUNDER = "viewer", "operator", "refunder"

OPERATE = "shop.operate_checkout"  # every action but sending money back
REFUND = "shop.refund_payment"

# The tables of accounts and keys are for administrators alone.
HIDDEN = ("user", "idempotencykey")


def grant(sender: AppConfig, **_signal: Any) -> None:
    """Make the groups, and give them what they lack. A repeat changes nothing."""
    create_permissions(sender, verbosity=0)
    ours = Permission.objects.filter(content_type__app_label=sender.label)
    seeing = list(ours.filter(codename__startswith="view_").exclude(content_type__model__in=HIDDEN))
    mending = [ours.get(codename=OPERATE.partition(".")[2])]
    refunding = [ours.get(codename=REFUND.partition(".")[2])]
    for name, granted in (
        (VIEWER, seeing),
        (OPERATOR, seeing + mending),
        (REFUNDER, seeing + mending + refunding),
    ):
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*granted)
