"""Products and their variants. Units are in `stock.py`."""

from __future__ import annotations

from django.db import models
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

PAGE_SIZE = 24  # products
MAX_SEARCH_CHARS = 100
MAX_SEARCH_WORDS = 8


class Product(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)
    description = models.TextField(blank=True)
    image = models.CharField(max_length=300, blank=True)
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.name


class Variant(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="variants")
    sku = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    price_paise = models.BigIntegerField()
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(price_paise__gte=0), name="variant_price_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return self.sku

    @property
    def title(self) -> str:
        return title(self.product.name, self.name)


def title(product_name: str, variant_name: str) -> str:
    """Product and variant in one line, as carts and orders show it: "UV Steriliser, 12 L"."""
    return f"{product_name}, {variant_name}" if variant_name else product_name


def on_sale(*, search: str = "") -> QuerySet[Product]:
    """
    Return products that have a variant on sale, oldest first, with their variants and stock.

    The name or the description has every word of `search`. Variants not on sale are left out.
    """
    variants = Variant.objects.filter(is_active=True)
    products = Product.objects.filter(
        Exists(variants.filter(product_id=OuterRef("pk"))), is_active=True
    )
    for word in search[:MAX_SEARCH_CHARS].replace("\x00", "").split()[:MAX_SEARCH_WORDS]:
        products = products.filter(Q(name__icontains=word) | Q(description__icontains=word))
    with_stock = variants.select_related("stock").order_by("id")
    return products.order_by("id").prefetch_related(Prefetch("variants", queryset=with_stock))
