"""Delete everything that is past its retention now; the sweeper does it a few rows at a time."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from shop.operations import retention


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = retention.prune_all(now=timezone.now())
        for name, rows in deleted.items():
            self.stdout.write(f"{name}: {rows}")
        if failed := [rule.name for rule in retention.RULES if rule.name not in deleted]:
            raise CommandError(f"failed, see the log: {', '.join(failed)}")
