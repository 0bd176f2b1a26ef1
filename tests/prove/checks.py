"""What must be true when nothing is left to do, from three sides. A finding is a sentence."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

from shop.checkout.states import FINAL, TRANSITIONS, State
from tests.prove.client import POST_CHECKOUT, Client
from tests.prove.environment import Environment
from tests.prove.stream import Journal, Json, KnownCheckout

MAX_IDLE_WAIT_SECONDS = 240
LOOK_SECONDS = 0.5
REPLAYS = 60  # posts sent again with their key, at every check
WAITING = ("refunding", "in_review")  # not final: the status says what it waits for

# Counts of the work that the shop still has to do.
UNDONE = """
    SELECT 'open checkouts', count(*) FROM shop_checkoutjob
     WHERE state IN ('queued', 'validated', 'ordered', 'awaiting_payment')
    UNION ALL SELECT 'unhandled webhooks', count(*) FROM shop_inboxevent WHERE due_at IS NOT NULL
    UNION ALL SELECT 'refunds due', count(*) FROM shop_refund
     WHERE due_at IS NOT NULL OR status IN ('due', 'pending')
    UNION ALL SELECT 'captures due', count(*) FROM shop_payment WHERE capture_at IS NOT NULL
    UNION ALL SELECT 'polls due', count(*) FROM shop_gatewayorder WHERE poll_at < now()
    UNION ALL SELECT 'checkouts overdue', count(*) FROM shop_checkoutjob WHERE due_at < now()
"""

# Each query selects (checkout id, what is wrong) for rows that must not exist.
FORBIDDEN: dict[str, str] = {
    "one cart revision was paid twice": """
        SELECT min(job.id::text), count(*) || ' paid checkouts of one cart revision'
        FROM shop_checkoutjob job WHERE state = 'paid'
        GROUP BY cart_id, cart_version HAVING count(*) > 1""",
    "an order without a checkout": """
        SELECT NULL, orders.number FROM shop_order orders
        LEFT JOIN shop_checkoutjob job ON job.order_id = orders.id WHERE job.id IS NULL""",
    "a checkout without an order in a state that needs one": """
        SELECT id::text, state FROM shop_checkoutjob
        WHERE order_id IS NULL AND state NOT IN ('failed', 'cancelled')""",
    "two payable Razorpay orders": """
        SELECT min(job.id::text), count(*)::text FROM shop_gatewayorder row
        JOIN shop_checkoutjob job ON job.order_id = row.order_id
        WHERE NOT row.is_duplicate GROUP BY row.order_id HAVING count(*) > 1""",
    "a checkout was paid twice": """
        SELECT job_id::text, count(*)::text FROM shop_transition WHERE new = 'paid'
        GROUP BY job_id HAVING count(*) > 1""",
    "a paid checkout whose units are not sold, or sold units of an unpaid one": """
        SELECT job.id::text, job.state || ', units ' || orders.stock_state FROM shop_order orders
        JOIN shop_checkoutjob job ON job.order_id = orders.id
        WHERE (job.state = 'paid') <> (orders.stock_state = 'sold')""",
    "an ended checkout that holds units": """
        SELECT job.id::text, job.state FROM shop_order orders
        JOIN shop_checkoutjob job ON job.order_id = orders.id
        WHERE orders.stock_state = 'held' AND job.state IN
            ('failed', 'cancelled', 'expired', 'refunding', 'refunded')""",
    "a webhook that is neither handled nor due": """
        SELECT NULL, left(gateway_event_id || ': ' || last_error, 300) FROM shop_inboxevent
        WHERE handled_at IS NULL AND due_at IS NULL""",
    "a webhook on which a step raised": """
        SELECT NULL, left(gateway_event_id || ': ' || last_error, 300) FROM shop_inboxevent
        WHERE last_error <> ''""",
    "a checkout that failed by an error of the shop": """
        SELECT id::text, left(last_error, 300) FROM shop_checkoutjob
        WHERE error_code = 'internal_error' OR last_error LIKE '%Traceback%'""",
    "a refund that failed": """
        SELECT job.id::text, refund.last_error FROM shop_refund refund
        JOIN shop_payment payment ON payment.id = refund.payment_id
        JOIN shop_gatewayorder row ON row.id = payment.gateway_order_id
        JOIN shop_checkoutjob job ON job.order_id = row.order_id
        WHERE refund.status = 'failed'""",
    # Except where a newer payment of the same order arrived during the capture.
    "captured by the shop and then refunded": """
        SELECT job.id::text, payment.gateway_payment_id FROM shop_payment payment
        JOIN shop_refund refund ON refund.payment_id = payment.id
        JOIN shop_gatewayorder row ON row.id = payment.gateway_order_id
        JOIN shop_checkoutjob job ON job.order_id = row.order_id
        WHERE payment.capture_attempts > 0 AND refund.reason IN ('late', 'surplus')
            AND NOT EXISTS (
                SELECT FROM shop_payment paying
                JOIN shop_order placed ON placed.paid_by = paying.gateway_payment_id
                WHERE placed.id = row.order_id AND paying.id > payment.id)""",
    "more refunded than paid": """
        SELECT NULL, payment.gateway_payment_id FROM shop_payment payment
        JOIN shop_refund refund ON refund.payment_id = payment.id AND refund.status <> 'failed'
        GROUP BY payment.id HAVING sum(refund.amount_paise) > payment.amount_paise""",
    "a payment refunded twice": """
        SELECT NULL, payment.gateway_payment_id FROM shop_payment payment
        JOIN shop_refund refund ON refund.payment_id = payment.id AND refund.status <> 'failed'
        GROUP BY payment.id HAVING count(*) > 1""",
}


@dataclass(frozen=True)
class Finding:
    side: str  # buyers, database or money; or processes, harness
    sentence: str
    checkout_id: str = ""


def wait_until_idle(env: Environment, *, seconds: float = MAX_IDLE_WAIT_SECONDS) -> list[Finding]:
    """Return when nothing is left to do. After `seconds`, return what is left as a finding."""
    deadline = time.monotonic() + seconds
    while True:
        undone = [f"{count} {what}" for what, count in env.rows(UNDONE) if count]
        if waiting := env.standin("GET", "health")["deliveries_waiting"]:
            undone.append(f"{waiting} webhooks not delivered")
        if not undone and (sums := _check_sums(env, env.standin("GET", "ledger"))):
            undone = [finding.sentence for finding in sums[:3]]  # a later poll may settle it
        if not undone:
            return []
        if time.monotonic() > deadline:
            return [Finding("database", f"work is left: {', '.join(undone)}")]
        time.sleep(LOOK_SECONDS)


def check(
    env: Environment, client: Client, journal: Journal, *, rng: random.Random
) -> list[Finding]:
    """Check all three sides. Call when nothing is left to do and no buyer is active."""
    return [
        *resolve(client, journal),
        *check_buyers(env, client, journal, rng=rng),
        *check_database(env),
        *check_money(env),
    ]


# --- the buyers -----------------------------------------------------------------------------------


def resolve(client: Client, journal: Journal) -> list[Finding]:
    """Send each post that got no answer again, with its key, and journal the checkout."""
    findings = []
    for token, key, body in journal.unresolved:
        answer = client.call("POST", POST_CHECKOUT, body, token=token, key=key)
        if answer.status == 202:
            journal.accepted(answer, token=token, key=key, body=body)
        elif answer.status != 409:
            findings.append(Finding("buyers", f"a post sent again was answered {answer.status}"))
    journal.unresolved.clear()
    return findings


def check_buyers(
    env: Environment, client: Client, journal: Journal, *, rng: random.Random
) -> list[Finding]:
    findings = [
        Finding("buyers", complaint) for complaint in (*client.tally.complaints, *journal.failures)
    ]
    states = dict(env.rows("SELECT id::text, state FROM shop_checkoutjob"))
    for checkout in journal.checkouts.values():
        findings += _check_known(checkout, states.get(checkout.id))
    findings += [
        Finding("buyers", "no buyer was told of this checkout", job_id)
        for job_id in states.keys() - journal.checkouts.keys()
    ]
    open_ended = [
        checkout for checkout in journal.checkouts.values() if not checkout.last["poll"]["done"]
    ]
    for checkout in open_ended:
        findings += _ask_again(client, checkout)
    everyone = sorted(
        (checkout for checkout in journal.checkouts.values() if checkout.key),
        key=lambda checkout: checkout.id,
    )
    for checkout in rng.sample(everyone, min(REPLAYS, len(everyone))):
        findings += _replay(client, checkout)
    return findings


def _check_known(checkout: KnownCheckout, state: str | None) -> list[Finding]:
    findings = []
    if state is None:
        findings.append(Finding("buyers", "accepted with 202 and vanished", checkout.id))
    if checkout.other_ids:
        findings.append(Finding("buyers", "one key led to two checkouts", checkout.id))
    if len(checkout.razorpay_order_ids) > 1:
        findings.append(Finding("buyers", "two Razorpay orders were shown", checkout.id))
    if checkout.status == "paid" and state != "paid":
        findings.append(
            Finding("buyers", f"its buyer was told that it is paid, it is {state}", checkout.id)
        )
    return findings


def _ask_again(client: Client, checkout: KnownCheckout) -> list[Finding]:
    answer = client.call("GET", f"/api/checkouts/{checkout.id}/", token=checkout.token)
    if answer.status != 200:
        return [Finding("buyers", f"its status answers {answer.status}", checkout.id)]
    checkout.last = answer.content
    poll = checkout.last["poll"]
    if poll["done"]:
        return []
    if checkout.status in WAITING and checkout.last["message"] and poll["after_ms"] > 0:
        return []
    return [
        Finding("buyers", f"is {checkout.status} and does not say when to poll again", checkout.id)
    ]


def _replay(client: Client, checkout: KnownCheckout) -> list[Finding]:
    answer = client.call(
        "POST", POST_CHECKOUT, checkout.body, token=checkout.token, key=checkout.key
    )
    if answer.status != 202 or answer.content["id"] != checkout.id:
        return [
            Finding("buyers", f"its key now answers {answer.status} {answer.code}", checkout.id)
        ]
    return []


# --- the database ---------------------------------------------------------------------------------


def check_database(env: Environment) -> list[Finding]:
    return [*check_rows(env), *_check_transitions(env)]


def check_rows(env: Environment) -> list[Finding]:
    """What must be true at every moment, with open checkouts too."""
    findings = [
        Finding("database", f"{sentence}: {what}", checkout_id or "")
        for sentence, query in FORBIDDEN.items()
        for checkout_id, what in env.rows(query)
    ]
    return [*findings, *_check_stock(env)]


def _check_stock(env: Environment) -> list[Finding]:
    """For each variant: units on hand + sold = units delivered, and held units belong to orders."""
    lines: dict[str, Counter[int]] = defaultdict(Counter)
    for state, variant_id, units in env.rows(
        "SELECT orders.stock_state, line.variant_id, sum(line.units) FROM shop_orderline line"
        " JOIN shop_order orders ON orders.id = line.order_id GROUP BY 1, 2"
    ):
        lines[state][variant_id] = int(units)
    findings = []
    all_delivered = env.all_delivered()
    for variant_id, on_hand, held in env.rows(
        "SELECT variant_id, on_hand, held FROM shop_stocklevel"
    ):
        delivered = all_delivered[variant_id]
        sold = lines["sold"][variant_id]
        if on_hand + sold != delivered or held != lines["held"][variant_id]:
            findings.append(
                Finding(
                    "database",
                    f"variant {variant_id}: {delivered} delivered, {sold} sold, {on_hand} on hand,"
                    f" {held} held, {lines['held'][variant_id]} held by orders",
                )
            )
    return findings


def _check_transitions(env: Environment) -> list[Finding]:
    """Every history is a path of allowed transitions and ends in the state of the checkout."""
    at: dict[str, str] = {}
    findings = []
    for job_id, old, new in env.rows(
        "SELECT job_id::text, old, new FROM shop_transition ORDER BY id"
    ):
        if at.get(job_id, State.QUEUED) != old or new not in TRANSITIONS[State(old)]:
            findings.append(
                Finding("database", f"moved {old} → {new} while {at.get(job_id)}", job_id)
            )
        at[job_id] = new
    for job_id, state in env.rows("SELECT id::text, state FROM shop_checkoutjob"):
        if at.get(job_id, State.QUEUED) != state:
            findings.append(
                Finding("database", f"is {state}, its history says {at.get(job_id)}", job_id)
            )
        if state not in FINAL and state not in WAITING:
            findings.append(Finding("database", f"is still {state}", job_id))
    return findings


# --- the money ------------------------------------------------------------------------------------


def check_money(env: Environment) -> list[Finding]:
    """Compare the stand-in's ledger with the shop. Nothing is created or refunded twice."""
    journal = env.standin("GET", "ledger")
    duplicates = {receipt: count for receipt, count in journal["receipts"].items() if count > 1}
    payments = journal["payments"].items()
    twice = {payment: row["refunds"] for payment, row in payments if row["refunds"] > 1}
    checkouts = dict(
        env.rows(
            "SELECT orders.number, job.id::text FROM shop_order orders"
            " JOIN shop_checkoutjob job ON job.order_id = orders.id WHERE number = ANY(%s)",
            list(duplicates),
        )
    )
    return [
        *_check_sums(env, journal),
        *(
            Finding("money", f"{count} Razorpay orders for {receipt}", checkouts.get(receipt, ""))
            for receipt, count in duplicates.items()
        ),
        *(Finding("money", f"{count} refunds of {payment}") for payment, count in twice.items()),
    ]


def _check_sums(env: Environment, journal: Json) -> list[Finding]:
    """
    For each order, to the paisa: money at the stand-in = money of a paid checkout + money in cases.
    """
    kept: Counter[str] = Counter()
    for order in journal["orders"].values():
        kept[order["receipt"]] += order["net_paise"]
    in_cases = _paise_in_cases(env, journal)
    known = {
        number: (job_id, int(paid_paise or 0) if state == "paid" else 0)
        for number, job_id, state, paid_paise in env.rows(
            "SELECT orders.number, job.id::text, job.state, payment.amount_paise"
            " FROM shop_order orders JOIN shop_checkoutjob job ON job.order_id = orders.id"
            " LEFT JOIN shop_payment payment ON payment.gateway_payment_id = orders.paid_by"
        )
    }
    findings = []
    for receipt in kept.keys() | known.keys():
        job_id, paid_paise = known.get(receipt, ("", 0))
        if kept[receipt] != paid_paise + in_cases[receipt]:
            sentence = (
                f"order {receipt}: Razorpay keeps {kept[receipt]} paise, the shop has"
                f" {paid_paise} paid and {in_cases[receipt]} in cases"
            )
            findings.append(Finding("money", sentence, job_id))
    return findings


def _paise_in_cases(env: Environment, journal: Json) -> Counter[str]:
    """Paise of payments that wait for a decision by staff, by receipt."""
    kept: Counter[str] = Counter()
    for (payment_id,) in env.rows(
        "SELECT reference FROM shop_case WHERE kind = 'conflict' AND closed_at IS NULL"
    ):
        if payment := journal["payments"].get(payment_id):
            receipt = journal["orders"][payment["order_id"]]["receipt"]
            kept[receipt] += payment["net_paise"]
    return kept
