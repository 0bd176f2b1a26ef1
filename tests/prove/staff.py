"""
Staff: deliver sold-out variants, decide reviews in the admin, and check what must always hold.
"""

from __future__ import annotations

import random
import re
import threading
import uuid
from contextlib import suppress

import psycopg
import requests

from tests.prove.environment import Environment
from tests.prove.stream import Stream

TURN_SECONDS = 0.25
STAFF_EVERY_TURNS = 4
CALL_SECONDS = 10
LOCK_TIMEOUT = "1s"
DECISIONS = {"accept": "staff accept the money of a review", "refund-all": "staff refund it"}
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')

# One more unit of each sold-out variant. A unit held for an unpaid order is still on hand.
DELIVERY = """
    WITH all_delivered AS (
        UPDATE shop_stocklevel SET on_hand = on_hand + 1
        WHERE variant_id = ANY(%s) AND on_hand = 0 RETURNING variant_id
    )
    INSERT INTO prove_delivery (variant_id, units) SELECT variant_id, 1 FROM all_delivered
"""
IN_REVIEW = "SELECT id::text FROM shop_checkoutjob WHERE state = 'in_review' ORDER BY id LIMIT 5"

# Each query selects what must never exist, not even while checkouts are open.
NEVER: dict[str, str] = {
    "an open checkout without money beside a paid one of its cart revision": """
        SELECT job.id::text FROM shop_checkoutjob job JOIN shop_checkoutjob paid
            ON paid.cart_id = job.cart_id AND paid.cart_version = job.cart_version
        WHERE paid.state = 'paid'
            AND job.state IN ('queued', 'validated', 'ordered', 'awaiting_payment')
            AND NOT EXISTS (
                SELECT FROM shop_payment payment JOIN shop_gatewayorder row
                    ON row.id = payment.gateway_order_id
                WHERE row.order_id = job.order_id AND payment.status IN ('authorized', 'captured'))
        """,
    # The shop may poll for five minutes after the end, and faults delay it.
    "units held unpaid past the end of their hold": """
        SELECT job.id::text FROM shop_checkoutjob job JOIN shop_order placed
            ON placed.id = job.order_id AND placed.stock_state = 'held'
        WHERE job.state IN ('ordered', 'awaiting_payment') AND job.returned_at IS NULL
            AND job.hold_until < now() - interval '8 minutes'
            AND NOT EXISTS (
                SELECT FROM shop_payment payment JOIN shop_gatewayorder row
                    ON row.id = payment.gateway_order_id
                WHERE row.order_id = job.order_id AND payment.status IN ('authorized', 'captured'))
        """,
}


class Staff:
    """A thread between `start` and `stop`. `seen` has the violations of `NEVER`."""

    def __init__(self, env: Environment, stream: Stream, rng: random.Random) -> None:
        self._env = env
        self._stream = stream
        self._rng = rng
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="staff", daemon=True)
        self._http = requests.Session()
        self._http.trust_env = False
        self._is_signed_in = False
        self.seen: dict[str, str] = {}  # the sentence, by checkout

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        turn = 0
        while not self._over.wait(TURN_SECONDS):
            turn += 1
            with suppress(psycopg.Error), self._env.connect(autocommit=True) as database:
                database.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
                database.execute(DELIVERY, [[variant["id"] for variant in self._stream.last]])
                for sentence, query in NEVER.items():
                    for (job_id,) in database.execute(query).fetchall():
                        self.seen[job_id] = sentence
                waiting = database.execute(IN_REVIEW).fetchall()
                if turn % STAFF_EVERY_TURNS == 0:
                    for (job_id,) in waiting:
                        self._decide(job_id)

    def _decide(self, job_id: str) -> None:
        """Decide one review at random. If a fault prevents it, the next turn tries again."""
        slug = self._rng.choice(list(DECISIONS))
        url = f"{self._env.stack.base_url}/admin/shop/checkoutjob/{job_id}/action/{slug}/"
        with suppress(requests.RequestException):
            if not self._is_signed_in:
                self._sign_in()
            form = {"reason": "decided", "key": str(uuid.uuid4())}
            if self._post(url, form).status_code == 302:
                self._stream.journal.reach(DECISIONS[slug])

    def _sign_in(self) -> None:
        environment = self._env.stack.environment
        answer = self._post(
            f"{self._env.stack.base_url}/admin/login/",
            {"username": "admin@pakka.local", "password": environment["ADMIN_PASSWORD"]},
        )
        self._is_signed_in = answer.status_code == 302

    def _post(self, url: str, form: dict[str, str]) -> requests.Response:
        """Load the page for its CSRF token and submit the form."""
        page = self._http.get(url, timeout=CALL_SECONDS)
        token = TOKEN.search(page.text)
        return self._http.post(
            url,
            data=form | {"csrfmiddlewaretoken": token.group(1) if token else ""},
            headers={"Referer": url},
            timeout=CALL_SECONDS,
            allow_redirects=False,
        )
