"""What the shop sells: products and their variants. Units are in `stock.py`."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


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
        """Product and variant in one line, as it stands on an order: "UV Steriliser, 12 L"."""
        return f"{self.product.name}, {self.name}" if self.name else self.product.name
