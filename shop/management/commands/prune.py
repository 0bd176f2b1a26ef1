"""Forget now what the sweeper would forget by and by. A repeat finds nothing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from shop import retention


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        for name, rows in retention.prune_all(now=timezone.now()).items():
            self.stdout.write(f"{name}: {rows}")
