"""
Compare units and payments with orders, and with --gateway Razorpay's list of payments with ours.
Prints the differences; the exit code is 1 if there are any. Changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from shop.money import format_amount
from shop.operations import books
from shop.operations.books import Difference
from shop.payments.gateway import GatewayError
from tasks.run import gateway

DEFAULT_SPAN = timedelta(days=7)


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--gateway", action="store_true", help="also compare Razorpay's list of payments"
        )
        parser.add_argument(
            "--since",
            type=moment,
            help="with --gateway: the date or time to start from (default: 7 days ago)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        with books.snapshot():
            found = self._print(books.differences())
            for totals in books.totals():
                self._summarise(totals)
            for refunds in books.external_refunds():
                amount = format_amount(refunds.paise, refunds.currency)
                self.stdout.write(f"refunds made outside the shop: {refunds.count}, {amount}")
        if options["gateway"]:
            try:
                since = options["since"] or now - DEFAULT_SPAN
                found += self._print(books.gateway_differences(gateway(), since=since, now=now))
            except GatewayError as error:
                raise CommandError(f"Razorpay's list could not be read: {error}") from error
        self.stdout.write(f"{found} differences" if found else "the books agree")
        if found:
            sys.exit(1)

    def _print(self, differences: Iterable[Difference]) -> int:
        count = 0
        for difference in differences:
            self.stdout.write(str(difference))
            count += 1
        return count

    def _summarise(self, totals: books.Totals) -> None:
        captured, kept, refunding, refunded, undecided = (
            format_amount(minor_units, totals.currency)
            for minor_units in (
                totals.captured_paise,
                totals.kept_paise,
                totals.refunding_paise,
                totals.refunded_paise,
                totals.undecided_paise,
            )
        )
        self.stdout.write(
            f"captured {captured} = paid orders {kept} + refunds in progress {refunding}"
            f" + refunded {refunded} + undecided {undecided}"
        )


def moment(text: str) -> datetime:
    """Parse an ISO date or time; without a time zone it is in the shop's."""
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made aware below
    except ValueError as error:
        raise CommandError(f"--since {text}: {error}") from error
    if found is None:
        raise CommandError(f"--since {text}: must be like 2026-11-22 or 2026-11-22T09:30")
    return found if timezone.is_aware(found) else timezone.make_aware(found)
