"""The shop's front page shows a page of products, whatever the size of the catalogue."""

from __future__ import annotations

import re

import pytest
from django.core.paginator import Paginator
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shop.catalogue import PAGE_SIZE, Product, Variant, on_sale
from shop.stock import StockLevel

pytestmark = pytest.mark.django_db

MAX_PAGE_BYTES = 100_000
MAX_PRODUCTS = 60


def make_products(count: int, *, name: str = "Mug") -> None:
    made = Product.objects.bulk_create(
        Product(name=f"{name} {n} {'x' * 150}", slug=f"{name.lower()}-{n}", image="/static/x.svg")
        for n in range(count)
    )
    variants = Variant.objects.bulk_create(
        Variant(product=product, sku=f"{product.slug}-{size}", name=size, price_paise=100)
        for product in made
        for size in ("S", "L")
    )
    StockLevel.objects.bulk_create(StockLevel(variant=variant, on_hand=3) for variant in variants)


def products_on(page: str) -> list[str]:
    return re.findall(r'href="/products/([^/]+)/"', page)


def link(page: str, rel: str) -> str | None:
    found = re.search(rf'<a rel="{rel}" href="([^"]*)"', page)
    return "/" + found[1].replace("&amp;", "&") if found else None


def read(client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    assert len(response.content) < MAX_PAGE_BYTES
    return response.content.decode()


def test_the_page_links_reach_every_product_once(client):
    make_products(2 * PAGE_SIZE + 5)
    there, back = [], []
    path: str | None = "/"
    while path:
        page = read(client, path)
        assert len(products_on(page)) <= MAX_PRODUCTS
        there.append(products_on(page))
        path = link(page, "next")
    path = link(page, "prev")
    while path:
        page = read(client, path)
        back.append(products_on(page))
        path = link(page, "prev")

    assert [len(names) for names in there] == [PAGE_SIZE, PAGE_SIZE, 5]
    assert len({name for names in there for name in names}) == 2 * PAGE_SIZE + 5
    assert back == there[-2::-1]


def test_a_search_keeps_its_words_from_page_to_page(client):
    make_products(PAGE_SIZE + 2, name="Lamp")
    make_products(3, name="Pot")

    first = read(client, "/?q=lamp")
    second = read(client, link(first, "next") or "")

    assert f"{PAGE_SIZE + 2} found for" in first
    assert len(products_on(second)) == 2
    assert all(name.startswith("lamp") for name in products_on(first) + products_on(second))


def test_a_single_page_has_no_links_to_others(client):
    make_products(3)

    page = read(client, "/")

    assert "Pages of products" not in page


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("0", 2), ("2", 2), ("99", 2), ("-1", 2), ("x", 1), ("", 1), ("9" * 400, 2), ("\x00", 1)],
)
def test_any_page_number_gets_a_page(client, asked, shown):
    make_products(PAGE_SIZE + 1)

    response = client.get("/", {"page": asked})

    assert response.status_code == 200
    assert f"Page {shown} of 2" in response.content.decode()


def test_the_cost_does_not_grow_with_the_catalogue(client):
    make_products(3 * PAGE_SIZE)
    with CaptureQueriesContext(
        connection,
    ) as few:
        read(client, "/")
    make_products(300, name="Lamp")
    with CaptureQueriesContext(connection) as many:
        page = read(client, "/")

    assert len(many) == len(few) <= 4
    assert len(products_on(page)) == PAGE_SIZE


def test_a_search_uses_a_bounded_number_of_words(client):
    make_products(1)

    with CaptureQueriesContext(connection) as queries:
        client.get("/", {"q": "m " * 50})

    assert max(query["sql"].count("UPPER") for query in queries) <= 4 * 8


def test_callers_cannot_enlarge_the_pages_of_products(client):
    make_products(PAGE_SIZE + 3)

    found = client.get("/api/products/?page_size=1000&limit=1000").json()

    assert (len(found["results"]), found["count"]) == (PAGE_SIZE, PAGE_SIZE + 3)
    assert Paginator(on_sale(), PAGE_SIZE).count == PAGE_SIZE + 3
