"""
The roles of staff: three groups, with what each may do.

They are created in `post_migrate`, not in a migration: Django creates the permissions only then,
and again when a test flushes the tables. Other permissions that a shop grants are kept.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

VIEWER, OPERATOR, REFUNDER = "viewer", "operator", "refunder"

OPERATE = "shop.operate_checkout"  # every staff action except refunds
REFUND = "shop.refund_payment"

# Only superusers see the tables of accounts and of idempotency keys.
HIDDEN = ("user", "idempotencykey")


def grant(sender: AppConfig, **_signal: Any) -> None:
    """Create the groups, and add the permissions they lack. A repeat changes nothing."""
    create_permissions(sender, verbosity=0)
    ours = Permission.objects.filter(content_type__app_label=sender.label)
    view = list(ours.filter(codename__startswith="view_").exclude(content_type__model__in=HIDDEN))
    operate = [ours.get(codename=OPERATE.partition(".")[2])]
    refund = [ours.get(codename=REFUND.partition(".")[2])]
    for name, granted in (
        (VIEWER, view),
        (OPERATOR, view + operate),
        (REFUNDER, view + operate + refund),
    ):
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*granted)
