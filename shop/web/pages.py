"""
The shop's pages. They hold public data only; scripts fetch the buyer's own data from the API.

So a page can be cached and needs no session.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from shop.api import errors
from shop.catalogue import MAX_SEARCH_CHARS, PAGE_SIZE, Product, Variant, on_sale
from shop.money import format_inr
from shop.web import content_policy

FEW_LEFT_UNITS = 5  # up to this number the page shows how many are left
STATES = (
    "Andaman and Nicobar Islands", "Andhra Pradesh", "Arunachal Pradesh", "Assam", "Bihar",
    "Chandigarh", "Chhattisgarh", "Dadra and Nagar Haveli and Daman and Diu", "Delhi", "Goa",
    "Gujarat", "Haryana", "Himachal Pradesh", "Jammu and Kashmir", "Jharkhand", "Karnataka",
    "Kerala", "Ladakh", "Lakshadweep", "Madhya Pradesh", "Maharashtra", "Manipur", "Meghalaya",
    "Mizoram", "Nagaland", "Odisha", "Puducherry", "Punjab", "Rajasthan", "Sikkim", "Tamil Nadu",
    "Telangana", "Tripura", "Uttar Pradesh", "Uttarakhand", "West Bengal",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offer:
    """A variant on a page."""

    id: int
    name: str
    price: str
    available: int

    @property
    def stock(self) -> str:
        if self.available <= 0:
            return "Sold out"
        return f"Only {self.available} left" if self.available <= FEW_LEFT_UNITS else ""


@dataclass(frozen=True, slots=True)
class Card:
    """A product on a page."""

    product: Product
    offers: list[Offer]

    @property
    def price(self) -> str:
        cheapest = min(self.product.variants.all(), key=lambda variant: variant.price_paise)
        price = format_inr(cheapest.price_paise).removesuffix(".00")
        dearer = any(v.price_paise > cheapest.price_paise for v in self.product.variants.all())
        return f"from {price}" if dearer else price

    @property
    def stock(self) -> str:
        if all(offer.available <= 0 for offer in self.offers):
            return "Sold out"
        return self.offers[0].stock if len(self.offers) == 1 else ""

    @property
    def chosen_id(self) -> int:
        """The variant selected at first: the first that is in stock."""
        in_stock = [offer for offer in self.offers if offer.available > 0]
        return (in_stock or self.offers)[0].id


def catalogue(request: HttpRequest) -> HttpResponse:
    """A page of products: the last for a number beyond it, the first for an invalid number."""
    search = request.GET.get("q", "")[:MAX_SEARCH_CHARS].replace("\x00", "").strip()
    page = Paginator(on_sale(search=search), PAGE_SIZE).get_page(request.GET.get("page"))
    values = {"cards": [_card(product) for product in page], "search": search, "page": page}
    return render(request, "shop/catalogue.html", values)


def product(request: HttpRequest, slug: str) -> HttpResponse:
    found = on_sale().filter(slug=slug).first()
    if found is None:
        return _missing(request)
    return render(request, "shop/product.html", {"card": _card(found)})


def checkout_form(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/checkout.html", {"states": STATES})


def checkout_status(request: HttpRequest, checkout_id: uuid.UUID) -> HttpResponse:
    """The live status of a checkout. Its script checks with the API whose checkout it is."""
    values = {"checkout_id": checkout_id, "checkout_js": settings.RAZORPAY_CHECKOUT_JS}
    response = render(request, "shop/status.html", values)
    content_policy.allow_gateway(response)
    return response


def order(request: HttpRequest, number: str) -> HttpResponse:
    return render(request, "shop/order.html", {"number": number})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 as JSON below /api/, as a page elsewhere."""
    if request.path.startswith("/api/"):
        return errors.not_found(request, exception)
    return _missing(request)


def _missing(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/missing.html", status=404)


def _card(product: Product) -> Card:
    return Card(product, [_offer(variant) for variant in product.variants.all()])


def _offer(variant: Variant) -> Offer:
    stock: Any = getattr(variant, "stock", None)
    return Offer(
        id=variant.pk,
        name=variant.name,
        price=format_inr(variant.price_paise).removesuffix(".00"),
        available=stock.free if stock else 0,
    )
