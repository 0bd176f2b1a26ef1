"""What buyers do: one tab or two, as a guest or with an account, once or again, in time or late."""

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
from tests.db.money.workers import AFTER_A_CALL, BEFORE_A_WRITE, FATES, LOCAL
from tests.db.money.world import MAX_CHECKOUTS, Buyer, World, open_checkouts
from tests.support import environment, money_books
from tests.support.shop import TERMS, fill_cart, make_buyer, new_key, reload, run

STREETS = ("12 MG Road", "7 Brigade Road")
RENEWALS = 7  # each half as long as a hold: together longer than the longest
ENDS = ("cancel", "expire", "another address", "sign in")


class BuyerRules(World):
    @initialize(
        quantity=st.integers(1, 3),
        spare=st.sampled_from([0, 0, 1, 3, 6]),
        late_payment=st.sampled_from(["fulfil", "fulfil", "refund"]),
        capture=st.sampled_from(["automatic", "manual"]),
        fates=FATES,
    )
    def a_buyer_stands_at_the_form(
        self,
        quantity: int,
        spare: int,
        late_payment: str,
        capture: str,
        fates: dict[str, tuple[str, int]],
    ) -> None:
        """Money needs an order, so that one there is, also if somebody dies on the way to it."""
        self.fates = fates
        self.open_the_shop(
            scarce_units=quantity + spare, LATE_PAYMENT=late_payment, RAZORPAY_CAPTURE=capture
        )
        if capture == "manual":
            self.standin.settings(auto_capture=False)
        self.new_checkout(self.scarce, quantity=quantity)
        self.work_off()
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
        The buyer posts the cart, as `page` showed it or without saying what it showed. None if the
        shop refuses; what it must answer is compared.
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
        except carts.NoSuchBuyer:  # a guest whom nobody had seen for long
            return None
        if job and job not in self.jobs:
            self.jobs.append(job)
        if cart and (page is None or page.checksum == cart.checksum):
            same = [it for it in before if is_of(it, cart) and it.terms_hash == terms.hash]
            if same and not money_books.money_of(buyer.owner_id):
                self.seen["an equal POST finds the open checkout"] += 1
                assert job in same, f"an equal POST gave {job or refusal!r}, not {same}"
        return job

    def own_units_are_available(self, buyer: Buyer) -> None:
        """Units that the buyer's own open checkout holds are no problem of their cart."""
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
        """Two tabs, a double click, a page that was loaded again: the workers are at it between."""
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
        """By one checkout that supersedes another, again and again."""
        buyer = self.buyers[which % len(self.buyers)]
        longest = holds.longest_hold() + FINAL_POLL_GRACE
        began: datetime | None = None
        for turn in range(RENEWALS):
            self.post(buyer, street=STREETS[turn % 2])
            self.work_off()
            if money_books.money_of(buyer.owner_id):
                return
            began = (began or self.now) if held_by(open_checkouts(buyer.owner_id)) else None
            assert began is None or self.now - began <= longest, f"held unpaid since {began}"
            self.advance(settings.HOLD_SECONDS // 2)
            self.work_off()
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
        """Into a new account, or into one whose owner has shopped here before."""
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
        """Each order of a payable checkout, should Razorpay have twins of it."""
        self.somebody_paid = True
        job = self.pick_job(which)
        if not GatewayOrder.objects.filter(order=job.order_id, gateway_order_id__isnull=False):
            return
        for order in self.standin.orders(receipt=job.order.number):
            self.pay(order["id"], "captured")

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "authorized"]),
        heard=st.booleans(),
    )
    def a_buyer_pays_what_is_asked(self, which: int, outcome: str, heard: bool) -> None:
        self.a_buyer_pays(which, outcome, {})
        if heard and self.gateway_report:
            self.hear(self.gateway_report[-1])

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "captured", "failed", "authorized", "created"]),
        wrong=st.sampled_from(
            [{}] * 4 + [{"amount": 100}, {"amount": 99999}, {"currency": "USD"}, {"force": True}]
        ),
    )
    def a_buyer_pays(self, which: int, outcome: str, wrong: dict[str, Any]) -> None:
        """On any order a buyer has ever been shown, also one whose checkout has ended."""
        self.somebody_paid = True
        shown = list(
            GatewayOrder.objects.filter(
                order__checkout__in=self.jobs, gateway_order_id__isnull=False
            ).order_by("id")
        )
        if shown:
            self.pay(str(shown[which % len(shown)].gateway_order_id), outcome, **wrong)

    @rule(which=st.integers(0, 9), fate=st.none() | BEFORE_A_WRITE | AFTER_A_CALL)
    def late_money_cannot_go_back(self, which: int, fate: tuple[str, int] | None) -> None:
        """
        A buyer pays what was cancelled, and refunds fail, as to an account that is closed. The
        worker that sends the next one may die.
        """
        self.somebody_paid = True
        if fate:
            self.fates["send_refunds"] = fate
        job = self.awaiting(which)
        if job is None:
            return
        self.standin.settings(refund_status="failed")
        self.cancel(job)
        if self.pay(self.razorpay_order_id(job), "captured"):
            self.hear(self.gateway_report[-1])
            self.work_off()

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS)
    @rule(
        which=st.integers(0, 9),
        first=st.sampled_from(["authorized", "failed", "created", "captured"]),
        heard=st.booleans(),
        end=st.sampled_from(ENDS),
        again=st.sampled_from(["captured", "authorized", "failed", ""]),
        late=st.sampled_from(["authorize", "capture", ""]),
    )
    def a_buyer_buys_again(
        self, which: int, first: str, heard: bool, end: str, again: str, late: str
    ) -> None:
        """
        An attempt comes to nothing, so far; the checkout ends, and the buyer posts the cart again.
        The first money may come after the second.
        """
        self.somebody_paid = True
        job = self.awaiting(which)
        if job is None:
            return
        attempt = self.pay(self.razorpay_order_id(job), first)
        if heard and attempt:
            self.hear(self.gateway_report[-1])
        buyer = self.end(self.buyer_of(job), job, end)
        second = self.post(buyer, street=STREETS[end == "another address"])
        self.work_off()
        if second and again and (second := reload(second)).state == State.AWAITING_PAYMENT:
            self.seen["a buyer posts again after an attempt"] += second != job
            self.pay(self.razorpay_order_id(second), again)
        if late and attempt:
            self.move(attempt["id"], late)

    def end(self, buyer: Buyer, job: CheckoutJob, how: str) -> Buyer:
        """The checkout ends this way, if it may; who the buyer is then."""
        if how == "cancel":
            self.cancel(job)
        elif how == "expire":
            self.captures_go_wrong()
            self.pass_time(1000)
            self.pass_time(400)
        elif how == "sign in" and buyer.is_guest:
            return self.sign_in(buyer)
        return buyer

    def captures_go_wrong(self) -> None:
        """Until other faults take the place of this one."""
        self.set_faults({"route": "payments.capture", "kind": "server_error", "count": None})

    # --- the browser comes back ------------------------------------------------------------------

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "authorized"]),
        then=st.sampled_from(["nothing", "cancel", "change the cart", "expire"]),
    )
    def a_browser_comes_back(self, which: int, outcome: str, then: str) -> None:
        """With a signature, before anything else is heard of the payment."""
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
        self.seen[f"a browser comes back, then: {then}"] += 1
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
        assert state == State.AWAITING_PAYMENT, f"{state}, though its browser had come back"


def is_of(job: CheckoutJob, cart: carts.Contents) -> bool:
    """Whether the open checkout is of these lines at these prices."""
    frozen = {it.variant_id: (it.units, it.unit_price_paise) for it in job.frozen_lines}
    return frozen == {it.variant_id: (it.quantity, it.unit_price_paise) for it in cart.lines}


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
