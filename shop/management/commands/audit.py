"""
Compare the books: units with orders, money with orders, and with --gateway Razorpay's list with
ours. Prints what differs; exit code 1 if anything does. Changes nothing.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from shop.money import format_amount
from shop.operations import books
from shop.payments.gateway import GatewayError
from tasks.run import gateway

SINCE = timedelta(days=7)


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--gateway", action="store_true", help="ask Razorpay for its list too")
        parser.add_argument(
            "--since",
            type=moment,
            help="with --gateway: payments made since this date or time (7 days ago)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        with books.one_moment():
            found = self._tell(books.books())
            for totals in books.totals():
                self._summarise(totals)
            for made in books.made_elsewhere():
                amount = format_amount(made.paise, made.currency)
                self.stdout.write(f"made elsewhere: {made.count} refunds of together {amount}")
        if options["gateway"]:
            try:
                found += self._tell(
                    books.gateway_list(gateway(), since=options["since"] or now - SINCE, now=now)
                )
            except GatewayError as error:
                raise CommandError(f"Razorpay's list could not be read: {error}") from error
        self.stdout.write(f"{found} differences" if found else "the books agree")
        if found:
            sys.exit(1)

    def _tell(self, differences: Any) -> int:
        count = 0
        for difference in differences:
            self.stdout.write(str(difference))
            count += 1
        return count

    def _summarise(self, totals: books.Totals) -> None:
        came, kept, going, gone, undecided = (
            format_amount(minor_units, totals.currency)
            for minor_units in (
                totals.came_paise,
                totals.kept_paise,
                totals.going_paise,
                totals.gone_paise,
                totals.open_paise,
            )
        )
        self.stdout.write(
            f"captured {came} = paid orders {kept} + going back {going} + gone back {gone}"
            f" + undecided {undecided}"
        )


def moment(text: str) -> datetime:
    """A date or a time as ISO writes them; without a zone, in the shop's."""
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made aware below
    except ValueError as error:
        raise CommandError(f"--since {text}: {error}") from error
    if found is None:
        raise CommandError(f"--since {text}: must be like 2026-11-22 or 2026-11-22T09:30")
    return found if timezone.is_aware(found) else timezone.make_aware(found)
