"""Pakka as the Procfile starts it, without Flower, with the benchmark's gateway."""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.bench.cost import Meter
from tests.bench.gateway_process import GatewayProcess, free_port
from tests.bench.shops import VARIANTS, Buyer, Payable, Progress, lines_of, order_form
from tests.support.process_settings import UNHURRIED, changed
from workers.stack.stack import Stack

PROCESSES = ("web", "worker", "gateway", "sweeper")
FLASH_SKU = "BENCH-FLASH"
# Unset, so that the shop runs as in production.
UNSET = (
    "DATA_DIR", "DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "ROLE", "LOG_LEVEL", "SECRET_KEY",
    "PUBLIC_URL", "ALLOWED_HOSTS", "PORT", "FLOWER_PORT", "STANDIN_PORT",
)  # fmt: skip

_PROGRESS = """
    SELECT job.id::text, job.state, job.created_at,
           (SELECT min(at) FROM shop_transition WHERE job_id = job.id AND new = 'awaiting_payment'),
           (SELECT min(at) FROM shop_transition WHERE job_id = job.id AND new = 'paid'),
           coalesce(remote.gateway_order_id, '')
    FROM unnest(%s::uuid[]) AS wanted (id)
    JOIN shop_checkoutjob job ON job.id = wanted.id
    LEFT JOIN shop_gatewayorder remote ON remote.order_id = job.order_id AND NOT remote.is_duplicate
"""
# Both read a partial index of unfinished rows.
_UNDECIDED = """
    SELECT count(*) FROM shop_checkoutjob
    WHERE state IN ('queued', 'validated', 'ordered') AND due_at IS NOT NULL
"""
_EVENTS_WAITING = "SELECT count(*) FROM shop_inboxevent WHERE due_at IS NOT NULL"


class Pakka:
    name = "ours"

    def __init__(self, stack: Stack, gateway: GatewayProcess) -> None:
        self.stack = stack
        self.gateway = gateway
        self.port = int(stack.environment["PORT"])
        self.meter = Meter(stack.services, self.pids)
        self.payable: list[Payable] = []
        self.database = psycopg.connect(stack.services.superuser_url, autocommit=True)
        self._variant_ids: list[int] = []

    def pids(self) -> Mapping[str, Sequence[int]]:
        return {name: self.stack.pids(name) for name in PROCESSES}

    def make_buyers(self, count: int, *, flash: bool = False) -> list[Buyer]:
        from shop import carts
        from shop.accounts import User
        from shop.api.auth import issue_tokens
        from shop.carts import Cart, CartItem

        now = datetime.now(UTC)
        users = User.objects.bulk_create(User(is_guest=True, password="!") for _ in range(count))
        filled = Cart.objects.bulk_create(
            Cart(owner=user, shown=0, created_at=now, updated_at=now) for user in users
        )
        variant_ids = self._variants()
        flash_id = self._flash_variant() if flash else 0
        CartItem.objects.bulk_create(
            CartItem(cart=cart, variant_id=variant_id, quantity=1)
            for number, cart in enumerate(filled)
            for variant_id in (
                [flash_id] if flash else [variant_ids[line] for line in lines_of(number)]
            )
        )
        buyers = []
        for user, cart in zip(users, filled, strict=True):
            shown = carts.contents(user.pk)
            assert shown is not None
            cart.shown = shown.checksum  # as if the buyer had seen the cart
            authorization = f"Bearer {issue_tokens(user)['access']}"
            post = order_form(
                authorization,
                key=secrets.token_hex(16),
                cart_version=shown.version,
                expected_total_paise=shown.total_paise,
            )
            buyers.append(Buyer(authorization, post))
        Cart.objects.bulk_update(filled, ["shown"], batch_size=1000)
        return buyers

    def flash_stock(self, units: int) -> None:
        from shop.stock import StockLevel

        StockLevel.objects.update_or_create(
            variant_id=self._flash_variant(), defaults={"on_hand": units, "held": 0}
        )

    def undecided(self) -> int:
        return self._count(_UNDECIDED)

    def events_waiting(self) -> int:
        return self._count(_EVENTS_WAITING)

    def progress(self, checkout_ids: Sequence[str]) -> list[Progress]:
        rows = self.database.execute(_PROGRESS, [list(checkout_ids)]).fetchall()
        return [Progress(*row) for row in rows]

    def prepare_tables(self) -> None:
        """
        Vacuum the tables before a measurement, and postpone the polls of the thousands of
        checkouts that an earlier measurement left unpaid.
        """
        self.database.execute(
            "UPDATE shop_gatewayorder SET poll_at = poll_at + interval '1 hour'"
            " WHERE poll_at < now() + interval '1 hour'"
        )
        self.database.execute("VACUUM ANALYZE")
        self.database.execute("CHECKPOINT")

    def _count(self, query: Any) -> int:
        row = self.database.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _variants(self) -> list[int]:
        if not self._variant_ids:
            self._variant_ids = [self._variant(number) for number in range(VARIANTS)]
        return self._variant_ids

    def _variant(self, number: int) -> int:
        from shop.catalogue import Product, Variant
        from shop.stock import StockLevel

        product = Product.objects.create(name=f"Brass lamp {number}", slug=f"lamp-{number}")
        price_paise = 9_900 + zlib.crc32(str(number).encode()) % 300_000
        variant = Variant.objects.create(
            product=product, sku=f"LAMP-{number}", name="Large", price_paise=price_paise
        )
        StockLevel.objects.create(variant=variant, on_hand=1_000_000)
        return int(variant.pk)

    def _flash_variant(self) -> int:
        from shop.catalogue import Product, Variant

        product, _ = Product.objects.get_or_create(slug="flash", defaults={"name": "Flash"})
        variant, _ = Variant.objects.get_or_create(
            sku=FLASH_SKU, defaults={"product": product, "name": "", "price_paise": 99_900}
        )
        return int(variant.pk)


@contextmanager
def running(data_dir: Path, gateway: GatewayProcess) -> Iterator[Pakka]:
    """Start the stack. From then on this process can use the shop's code on its database."""
    overrides = dict.fromkeys(UNSET, "") | changed(**UNHURRIED)
    overrides |= {
        "DEBUG": "0",
        "HELD_PERCENT_BY_GUESTS": "100",  # all buyers are guests, and one sale is for guests only
        "PORT": str(free_port()),
        "RAZORPAY_BASE_URL": gateway.url,
        "RAZORPAY_KEY_ID": "rzp_test_bench",
        "RAZORPAY_KEY_SECRET": secrets.token_urlsafe(24),
        "RAZORPAY_WEBHOOK_SECRETS": gateway.webhook_secret,
    }
    stack = Stack(
        data_dir, overrides, processes=PROCESSES, supervise=False, setup=[("migrate", "--noinput")]
    )
    with stack:
        os.environ |= stack.environment
        import django

        django.setup()
        pakka = Pakka(stack, gateway)
        try:
            yield pakka
        finally:
            pakka.meter.close()
            pakka.database.close()
