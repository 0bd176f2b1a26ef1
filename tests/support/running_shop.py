"""A running stack and access to its API, its database and its stand-in."""

from __future__ import annotations

from typing import Any, Self

import psycopg
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.buyers import Buyer, Json, together
from workers.stack.stack import Stack

MUG = "TEA-100"


class RunningShop:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = requests.Session()
        self.http.trust_env = False
        self.database = psycopg.connect(stack.services.superuser_url, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.database.close()

    def arrive(self, count: int, *, sku: str = MUG) -> list[Buyer]:
        """`count` guests, each with one unit in the cart."""
        return together(lambda _: Buyer.arrive(self.stack.base_url, sku=sku), range(count))

    def post_all(self, buyers: list[Buyer]) -> list[Json]:
        return together(lambda buyer: buyer.post(), buyers, threads=len(buyers))

    def standin(self, verb: str, path: str, body: Any = None) -> Any:
        """The stand-in's control API."""
        answer = self.http.request(
            verb, f"{self.stack.standin_url}/_standin/{path}", json=body, timeout=20
        )
        answer.raise_for_status()
        return answer.json()

    def pay(self, checkout: Json) -> None:
        order_id = checkout["payment"]["razorpay_order_id"]
        self.standin("POST", "payments", {"order_id": order_id, "outcome": "captured"})

    def tasks(self, **query: str) -> list[Json]:
        """Celery tasks as Flower lists them."""
        login = tuple(self.stack.environment["FLOWER_BASIC_AUTH"].split(":", 1))
        answer = self.http.get(
            f"{self.stack.flower_url}/api/tasks", params=query, auth=login, timeout=20
        )
        answer.raise_for_status()
        return list(answer.json().values())

    def metrics(self) -> dict[tuple[str, str], float]:
        """{(name, label values in the order of their names): value}, from one scrape."""
        text = self.http.get(f"{self.stack.base_url}/metrics", timeout=20).text
        return {
            (sample.name, " ".join(sample.labels[name] for name in sorted(sample.labels))): (
                sample.value
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(query, values).fetchall()

    def payable_orders(self, checkouts: list[Json]) -> list[tuple[str, str]]:
        """(checkout id, Razorpay order id) of each payable Razorpay order."""
        return self.rows(
            """
            SELECT job.id::text, row.gateway_order_id
            FROM shop_checkoutjob job JOIN shop_gatewayorder row ON row.order_id = job.order_id
            WHERE job.id::text = ANY(%s) AND row.gateway_order_id IS NOT NULL
            AND NOT row.is_duplicate
              AND job.state = 'awaiting_payment'
            """,
            [checkout["id"] for checkout in checkouts],
        )
