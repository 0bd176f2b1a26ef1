"""Rows as time or an older version leaves them."""

from __future__ import annotations

import json
from typing import Any

from tests.prove.faults.registry import FaultContext, fault
from tests.prove.stream import ADDRESS, Buyer, user_id_in


@fault("retention")
def guests_inactive_for_a_year(context: FaultContext) -> str:
    """
    Make the rows of signed-in guests 400 days older. One sweeper runs retention in every sweep.
    """
    buyer = Buyer(context.stream, context.rng)
    buyer.arrive(as_guest=True)
    guest_id = user_id_in(buyer.token)
    buyer.fill([context.rng.choice(context.stream.variants)], quantity=1)
    checkout = buyer.post()
    buyer.sign_in()
    checkout.token = buyer.token
    ids = [guest_id, *context.stream.journal.merged_guests]
    context.env.rows(
        "UPDATE shop_user SET created_at = created_at - interval '400 days' WHERE id = ANY(%s)", ids
    )
    context.env.rows(
        "UPDATE shop_cart SET updated_at = updated_at - interval '400 days'"
        " WHERE owner_id = ANY(%s)",
        ids,
    )
    context.stream.journal.reach("retention meets guests who have signed in")
    return f"{len(ids)} guests"


@fault("versions")
def rows_of_the_older_version(context: FaultContext) -> str:
    """
    Insert a checkout as an older version does during a deploy: without the columns added later.

    Those columns must have defaults.
    """
    buyer = Buyer(context.stream, context.rng)
    buyer.arrive()
    buyer.fill([context.rng.choice(context.stream.variants)])
    cart = buyer.client.call("GET", "/api/cart/", token=buyer.token).content
    [(job_id,)] = context.env.rows(
        OLDER_INSERT,
        json.dumps(ADDRESS | {"country": "IN", "line2": ""}),
        cart["total_paise"],
        len(cart["items"]),
        json.dumps([_frozen(item) for item in cart["items"]]),
        cart["id"],
    )
    answer = buyer.client.call("GET", f"/api/checkouts/{job_id}/", token=buyer.token)
    checkout = context.stream.journal.accepted(answer, token=buyer.token, key="", body={})
    buyer.wait(checkout, "awaiting_payment", seconds=10)
    return str(checkout.status)


def _frozen(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "variant_id": item["variant_id"],
        "sku": item["sku"],
        "name": item["name"],
        "units": item["quantity"],
        "unit_price_paise": item["unit_price_paise"],
    }


# The columns that every version knows.
OLDER_INSERT = """
    WITH address AS (SELECT %s::jsonb AS it)
    INSERT INTO shop_checkoutjob (
        id, cart_version, currency, shipping_address, billing_address, email, terms_hash, lines,
        items_count, amount_paise, state, version, due_at, claim, attempts, waiting_for, expires_at,
        returned_at, error_code, error_message, error_details, last_error, created_at, updated_at,
        cart_id, owner_id, order_id)
    SELECT gen_random_uuid(), cart.version, 'INR', address.it, address.it, '', 'of the older code',
        lines.it, lines.count, lines.paise, 'queued', 1, now(), NULL, 0, '', NULL,
        NULL, '', '', '{}', '', now(), now(), cart.id, cart.owner_id, NULL
    FROM shop_cart cart, address,
        (SELECT %s::bigint AS paise, %s::int AS count, %s::jsonb AS it) lines
    WHERE cart.id = %s
    RETURNING id::text
"""
