"""Create the demo catalogue and users for the admin. A repeat adds only what is missing."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand
from django.db import transaction

from shop import roles
from shop.accounts import User
from shop.catalogue import Product, Variant
from shop.stock import StockLevel

ADMIN_EMAIL = "admin@pakka.local"


class Item(NamedTuple):
    name: str
    slug: str
    description: str
    variants: tuple[tuple[str, str, int, int], ...]  # SKU, name, price in paise, units on hand


CATALOGUE = (
    Item(
        "UV Steriliser Cabinet",
        "uv-steriliser-cabinet",
        "Dries and sterilises bottles, toys and phones with UV-C light in eleven minutes. Steel"
        " inside, switches off when the door opens.",
        (
            ("UVS-21", "21 litres", 2248896, 25),
            ("UVS-38", "38 litres", 3149900, 12),
        ),
    ),
    Item(
        "Brass Filter Coffee Set",
        "brass-filter-coffee-set",
        "A two-part filter and a davara-tumbler pair, spun in Kumbakonam. Holds its heat for the"
        " second cup.",
        (
            ("COF-2", "2 cups", 129900, 60),
            ("COF-4", "4 cups", 189900, 40),
        ),
    ),
    Item(
        "Handloom Cotton Throw",
        "handloom-cotton-throw",
        "Woven on pit looms in Bhujodi from undyed and indigo yarn. 130 × 170 cm, and softer with"
        " every wash.",
        (
            ("THR-IND", "Indigo", 245000, 30),
            ("THR-MAD", "Madder", 245000, 18),
            ("THR-UND", "Undyed", 225000, 22),
        ),
    ),
    Item(
        "Terracotta Planter",
        "terracotta-planter",
        "Hand-thrown in Molela, fired once, left bare so that roots can breathe. With a saucer.",
        (
            ("PLT-S", "Small, 14 cm", 34900, 120),
            ("PLT-L", "Large, 24 cm", 89900, 45),
        ),
    ),
    Item(
        "Copper Water Bottle",
        "copper-water-bottle",
        "950 ml of pure copper, hammered in Moradabad, with a cap that does not leak.",
        (("BTL-CU", "", 149900, 80),),
    ),
    Item(
        "Assam Second Flush",
        "assam-second-flush",
        "Malty leaf of June from a single estate in Dibrugarh. Takes milk, and argument.",
        (
            ("TEA-100", "100 g", 42000, 200),
            ("TEA-250", "250 g", 95000, 90),
        ),
    ),
    Item(
        "Enamel Tiffin",
        "enamel-tiffin",
        "Three tiers and a brass clip. Survives the local, the office and the way home.",
        (("TIF-3", "", 199900, 1),),
    ),
    Item(
        "Block-printed Notebook",
        "block-printed-notebook",
        "160 pages of cotton paper from Sanganer between printed boards. Lies flat.",
        (
            ("NTB-A5", "A5", 59900, 150),
            ("NTB-A6", "A6", 39900, 0),
        ),
    ),
)


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--reset-passwords",
            action="store_true",
            help="set ADMIN_PASSWORD for users that exist already, too",
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        for item in CATALOGUE:
            product, _ = Product.objects.update_or_create(
                slug=item.slug,
                defaults={
                    "name": item.name,
                    "description": item.description,
                    "image": f"/static/shop/products/{item.slug}.svg",
                },
            )
            for sku, name, price_paise, on_hand in item.variants:
                variant, _ = Variant.objects.update_or_create(
                    sku=sku, defaults={"product": product, "name": name, "price_paise": price_paise}
                )
                # An existing stock level is kept: units may have been sold since.
                StockLevel.objects.get_or_create(variant=variant, defaults={"on_hand": on_hand})
        self._users(reset_passwords=options["reset_passwords"])

    def _users(self, *, reset_passwords: bool) -> None:
        """
        Create a superuser, and with DEBUG one user of each role. Existing users are not changed,
        except for the password with --reset-passwords.
        """
        password = os.environ.get("ADMIN_PASSWORD")
        if not password:
            return
        names = (roles.VIEWER, roles.OPERATOR, roles.REFUNDER) if settings.DEBUG else ()
        for email, role in [(ADMIN_EMAIL, ""), *((f"{name}@pakka.local", name) for name in names)]:
            user, created = User.objects.get_or_create(
                email=email, defaults={"is_staff": True, "is_superuser": not role}
            )
            if created or reset_passwords:
                user.set_password(password)
                user.save(update_fields=["password"])
            if created and role:
                user.groups.add(Group.objects.get(name=role))
