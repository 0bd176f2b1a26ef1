"""What buyers do: in one tab or two, as a guest or with an account, once or repeatedly."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.conf import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from shop import carts
from shop.accounts import User
from shop.catalogue import Variant
from shop.checkout import guests, holds, start
from shop.checkout.confirm import confirm
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import CannotCancel, CheckoutRefused, ClientView
from shop.checkout.states import State
from shop.checkout.steps.expire import FINAL_POLL_GRACE
from shop.orders import StockState
from shop.payments.ledger import GatewayOrder
from tests.db.stateful.base import MAX_CHECKOUTS, Buyer, ShopMachine, open_checkouts
from tests.db.stateful.workers import AFTER_A_CALL, BEFORE_A_WRITE, CRASHES, LOCAL
from tests.support import environment, money_books
from tests.support.shop import TERMS, fill_cart, make_buyer, new_key, reload, run

STREETS = ("12 MG Road", "7 Brigade Road")
RENEWALS = 7  # each takes half a hold; seven take longer than the longest hold
ENDS = ("cancel", "expire", "another address", "sign in")


class BuyerRules(ShopMachine):
    @initialize(
        quantity=st.integers(1, 3),
        spare=st.sampled_from([0, 0, 1, 3, 6]),
        late_payment=st.sampled_from(["fulfil", "fulfil", "refund"]),
        capture=st.sampled_from(["automatic", "manual"]),
        crashes=CRASHES,
    )
    def a_buyer_can_pay(
        self,
        quantity: int,
        spare: int,
        late_payment: str,
        capture: str,
        crashes: dict[str, tuple[str, int]],
    ) -> None:
        """Start each history with a checkout that can be paid, even if a worker dies on the way."""
        self.crashes = crashes
        self.set_up_shop(
            scarce_units=quantity + spare, LATE_PAYMENT=late_payment, RAZORPAY_CAPTURE=capture
        )
        if capture == "manual":
            self.standin.settings(auto_capture=False)
        self.new_checkout(self.scarce, quantity=quantity)
        self.work_until_idle()
        if reload(self.jobs[0]).state != State.AWAITING_PAYMENT:
            self.pass_time(70)

    # --- posts -----------------------------------------------------------------------------------

    def new_checkout(self, variant: Variant, *, quantity: int = 1) -> CheckoutJob:
        """A new guest posts a cart of this."""
        buyer = Buyer(make_buyer(now=self.now).pk)
        self.buyers.append(buyer)
        fill_cart(User(pk=buyer.owner_id), variant, quantity=quantity, now=self.now)
        job = self.post(buyer)
        assert job is not None
        return job

    def post(
        self,
        buyer: Buyer,
        *,
        key: str = "",
        page: carts.Contents | None = None,
        street: str = STREETS[0],
    ) -> CheckoutJob | None:
        """
        Post the buyer's cart, with the version that `page` showed, if given. None if refused.

        An equal POST must find the open checkout of the same cart.
        """
        terms = replace(TERMS, shipping_address=TERMS.shipping_address | {"line1": street})
        self.own_units_are_available(buyer)
        before = open_checkouts(buyer.owner_id)
        cart = carts.contents(buyer.owner_id)
        seen = ClientView(cart_version=page.version) if page else ClientView()
        refusal: CheckoutRefused | None = None
        job: CheckoutJob | None = None
        try:
            accepted = start.start(
                owner_id=buyer.owner_id, terms=terms, seen=seen, key=key, now=self.now
            )
            job = CheckoutJob.objects.get(pk=accepted.job_id)
        except CheckoutRefused as refused:
            refusal = refused
        except carts.NoSuchBuyer:  # retention deleted the guest
            return None
        if job and job not in self.jobs:
            self.jobs.append(job)
        if cart and (page is None or page.checksum == cart.checksum):
            same = [old for old in before if is_of(old, cart) and old.terms_hash == terms.hash]
            if same and not money_books.money_of(buyer.owner_id):
                self.seen["an equal POST finds the open checkout"] += 1
                assert job in same, f"an equal POST gave {job or refusal!r}, not {same}"
        return job

    def own_units_are_available(self, buyer: Buyer) -> None:
        """The cart shows no problem for units that the buyer's own open checkout holds."""
        held = held_by(open_checkouts(buyer.owner_id))
        if not held:
            return
        for line in carts.read(buyer.owner_id, now=self.now).lines:
            if line.quantity <= held[line.variant_id]:
                self.seen["a cart whose units its own checkout holds"] += 1
                assert line.problem is None, f"the buyer's own units: {line.problem}"

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS)
    @rule(quantity=st.integers(1, 3), scarce=st.booleans())
    def a_buyer_posts(self, quantity: int, scarce: bool) -> None:
        self.new_checkout(self.scarce if scarce else self.plenty, quantity=quantity)

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS)
    @rule(which=st.integers(0, 9), key=st.booleans(), rounds=st.integers(0, 3), named=st.booleans())
    def a_buyer_posts_twice(self, which: int, key: bool, rounds: int, named: bool) -> None:
        """Two tabs, a double click or a reload. Workers may run in between."""
        buyer = self.buyers[which % len(self.buyers)]
        with contextlib.suppress(carts.NoSuchBuyer):
            page = carts.read(buyer.owner_id, now=self.now)
            if self.post(buyer, key=new_key() if key else "", page=page if named else None):
                for _ in range(rounds):
                    self.work_once()
                self.post(buyer, key=new_key() if key else "", page=page if named else None)

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS)
    @rule(which=st.integers(0, 9), street=st.sampled_from(STREETS), rounds=st.integers(0, 3))
    def a_buyer_posts_with_an_address(self, which: int, street: str, rounds: int) -> None:
        self.post(self.buyers[which % len(self.buyers)], street=street)
        for _ in range(rounds):
            self.work_once()

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS - 2)
    @rule(which=st.integers(0, 9))
    def a_buyer_renews_the_hold(self, which: int) -> None:
        """Post again before each hold ends. The total time units are held unpaid stays bounded."""
        buyer = self.buyers[which % len(self.buyers)]
        longest = holds.longest_hold() + FINAL_POLL_GRACE
        began: datetime | None = None
        for turn in range(RENEWALS):
            self.post(buyer, street=STREETS[turn % 2])
            self.work_until_idle()
            if money_books.money_of(buyer.owner_id):
                return
            began = (began or self.now) if held_by(open_checkouts(buyer.owner_id)) else None
            assert began is None or self.now - began <= longest, f"held unpaid since {began}"
            self.advance(settings.HOLD_SECONDS // 2)
            self.work_until_idle()
        self.seen["a buyer renews the hold"] += 1

    @rule(which=st.integers(0, 9), scarce=st.booleans())
    def a_buyer_adds_to_the_cart(self, which: int, scarce: bool) -> None:
        self.add(self.buyers[which % len(self.buyers)], self.scarce if scarce else self.plenty)

    def add(self, buyer: Buyer, variant: Variant) -> None:
        with contextlib.suppress(carts.NoSuchBuyer, carts.CartError):
            carts.add(buyer.owner_id, variant_id=variant.pk, quantity=1, now=self.now)

    # --- signing in ------------------------------------------------------------------------------

    @rule(which=st.integers(0, 9), known=st.booleans(), posts=st.booleans())
    def a_guest_signs_in(self, which: int, known: bool, posts: bool) -> None:
        """Into a new account, or into one that has a cart and checkouts already."""
        guests = [buyer for buyer in self.buyers if buyer.is_guest]
        if guests:
            account = self.sign_in(guests[which % len(guests)], known=known)
            if posts and len(self.jobs) < MAX_CHECKOUTS:
                self.post(account)

    def sign_in(self, guest: Buyer, *, known: bool = False) -> Buyer:
        accounts = [buyer for buyer in self.buyers if not buyer.is_guest]
        account = accounts[0] if known and accounts else self.new_account()
        held = held_by(open_checkouts(guest.owner_id))
        wanted = units_in_cart(guest)
        guests.merge_guest(guest_id=guest.owner_id, into_id=account.owner_id, now=self.now)
        self.buyers.remove(guest)
        self.has_merged = True
        has = units_in_cart(account)
        for variant_id, units in wanted.items():
            kept = min(units, held[variant_id])
            assert has[variant_id] >= kept, f"signed in: {has[variant_id]} left of {kept} held"
            self.seen["a guest whose units are held signs in"] += bool(kept)
        return account

    def new_account(self) -> Buyer:
        user = User(email=f"{new_key()}@example.com", created_at=self.now)
        user.set_unusable_password()
        user.save()
        self.buyers.append(account := Buyer(user.pk, is_guest=False))
        return account

    # --- ends ------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 9))
    def a_buyer_cancels(self, which: int) -> None:
        self.cancel(self.pick_job(which))

    def cancel(self, job: CheckoutJob) -> None:
        with contextlib.suppress(CheckoutRefused):
            start.cancel(owner_id=job.owner_id, job_id=job.pk, now=self.now)

    @rule(which=st.integers(0, 9))
    def a_buyer_cancels_and_pays(self, which: int) -> None:
        self.a_buyer_cancels(which)
        self.a_buyer_pays_on_all_tabs(which)

    # --- money -----------------------------------------------------------------------------------

    @rule(which=st.integers(0, 9))
    def a_buyer_pays_on_all_tabs(self, which: int) -> None:
        """Pay each Razorpay order of one checkout, duplicates too."""
        self.somebody_paid = True
        job = self.pick_job(which)
        if not GatewayOrder.objects.filter(order=job.order_id, gateway_order_id__isnull=False):
            return
        for order in self.standin.orders(receipt=job.order.number):
            self.pay(order["id"], "captured")

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "authorized"]),
        received=st.booleans(),
    )
    def a_buyer_pays_what_is_asked(self, which: int, outcome: str, received: bool) -> None:
        self.a_buyer_pays(which, outcome, {})
        if received and self.reports:
            self.receive(self.reports[-1])

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "captured", "failed", "authorized", "created"]),
        wrong=st.sampled_from(
            [{}] * 4 + [{"amount": 100}, {"amount": 99999}, {"currency": "USD"}, {"force": True}]
        ),
    )
    def a_buyer_pays(self, which: int, outcome: str, wrong: dict[str, Any]) -> None:
        """On any Razorpay order that a buyer has seen, even if its checkout has ended."""
        self.somebody_paid = True
        shown = list(
            GatewayOrder.objects.filter(
                order__checkout__in=self.jobs, gateway_order_id__isnull=False
            ).order_by("id")
        )
        if shown:
            self.pay(str(shown[which % len(shown)].gateway_order_id), outcome, **wrong)

    @rule(which=st.integers(0, 9), crash=st.none() | BEFORE_A_WRITE | AFTER_A_CALL)
    def refunds_of_late_money_fail(self, which: int, crash: tuple[str, int] | None) -> None:
        """
        A buyer pays a cancelled checkout and its refund fails. The worker that sends the next
        refund may die.
        """
        self.somebody_paid = True
        if crash:
            self.crashes["send_refunds"] = crash
        job = self.awaiting(which)
        if job is None:
            return
        self.standin.settings(refund_status="failed")
        self.cancel(job)
        if self.pay(self.razorpay_order_id(job), "captured"):
            self.receive(self.reports[-1])
            self.work_until_idle()

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS)
    @rule(
        which=st.integers(0, 9),
        first=st.sampled_from(["authorized", "failed", "created", "captured"]),
        received=st.booleans(),
        end=st.sampled_from(ENDS),
        again=st.sampled_from(["captured", "authorized", "failed", ""]),
        late=st.sampled_from(["authorize", "capture", ""]),
    )
    def a_buyer_buys_again(
        self, which: int, first: str, received: bool, end: str, again: str, late: str
    ) -> None:
        """
        The first attempt brings no money yet, its checkout ends, and the buyer posts the cart
        again. The first money may arrive after the second.
        """
        self.somebody_paid = True
        job = self.awaiting(which)
        if job is None:
            return
        attempt = self.pay(self.razorpay_order_id(job), first)
        if received and attempt:
            self.receive(self.reports[-1])
        buyer = self.end(self.buyer_of(job), job, end)
        second = self.post(buyer, street=STREETS[end == "another address"])
        self.work_until_idle()
        if second and again and (second := reload(second)).state == State.AWAITING_PAYMENT:
            self.seen["a buyer posts again after an attempt"] += second != job
            self.pay(self.razorpay_order_id(second), again)
        if late and attempt:
            self.move(attempt["id"], late)

    def end(self, buyer: Buyer, job: CheckoutJob, how: str) -> Buyer:
        """End the checkout this way, if allowed. Returns the buyer, who may have signed in."""
        if how == "cancel":
            self.cancel(job)
        elif how == "expire":
            self.fail_captures()
            self.pass_time(1000)
            self.pass_time(400)
        elif how == "sign in" and buyer.is_guest:
            return self.sign_in(buyer)
        return buyer

    def fail_captures(self) -> None:
        """Until `set_faults` is called again."""
        self.set_faults({"route": "payments.capture", "kind": "server_error", "count": None})

    # --- the browser returns ------------------------------------------------------------------

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "authorized"]),
        then=st.sampled_from(["nothing", "cancel", "change the cart", "expire"]),
    )
    def a_browser_returns(self, which: int, outcome: str, then: str) -> None:
        """With a signature, before any webhook or poll reports the payment."""
        self.somebody_paid = True
        job = self.awaiting(which)
        if job is None or not (payment := self.pay(self.razorpay_order_id(job), outcome)):
            return
        self.advance(1)
        fields = payment["checkout"]
        confirm(
            job,
            gateway_payment_id=fields["razorpay_payment_id"],
            gateway_order_id=fields["razorpay_order_id"],
            signature=fields["razorpay_signature"],
            key_secret=environment.KEY_SECRET,
            now=self.now,
        )
        self.seen[f"a browser returns, then: {then}"] += 1
        if then == "cancel":
            with contextlib.suppress(CannotCancel):
                start.cancel(owner_id=job.owner_id, job_id=job.pk, now=self.now)
        elif then == "change the cart":
            buyer = self.buyer_of(job)
            self.add(buyer, self.plenty)
            self.post(buyer)
        elif then == "expire":
            self.advance(1300)
            run(LOCAL["expire"], now=self.now)
        state = reload(job).state
        assert state == State.AWAITING_PAYMENT, f"{state}, though its browser had returned"


def is_of(job: CheckoutJob, cart: carts.Contents) -> bool:
    """Whether the checkout has the lines and prices of this cart."""
    frozen = {line.variant_id: (line.units, line.unit_price_paise) for line in job.frozen_lines}
    shown = {line.variant_id: (line.quantity, line.unit_price_paise) for line in cart.lines}
    return frozen == shown


def held_by(jobs: list[CheckoutJob]) -> Counter[int]:
    """Units that the orders of these checkouts hold, by variant."""
    units: Counter[int] = Counter()
    for job in jobs:
        if job.order and job.order.stock_state == StockState.HELD:
            for line in job.frozen_lines:
                units[line.variant_id] += line.units
    return units


def units_in_cart(buyer: Buyer) -> Counter[int]:
    cart = carts.contents(buyer.owner_id)
    return Counter({line.variant_id: line.quantity for line in cart.lines} if cart else {})
