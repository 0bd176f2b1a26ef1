"""The composition of a price: a worked order, and what holds for every cart."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.pricing.tax import NoRate, Rate
from shop.pricing.totals import ChargeTax, Goods, Terms, Totals, compute

DAY = date(2026, 11, 22)
RATES = [
    Rate("apparel", 500, date(2025, 9, 22), up_to_paise=2500_00),
    Rate("apparel", 1800, date(2025, 9, 22)),
    Rate("standard", 1800, date(2025, 9, 22)),
    Rate("exempt", 0, date(2017, 7, 1)),
    Rate("gold", 300, date(2017, 7, 1)),
]
SHIRTS = Goods(units=2, gross_paise=2998_00, tax_class="apparel", hsn="6205")
MIXER = Goods(units=1, gross_paise=3499_00, tax_class="standard", hsn="8509")
BOOK = Goods(units=1, gross_paise=299_00, tax_class="exempt", hsn="4901")
ORDER = [SHIRTS, MIXER, BOOK]


def terms(**changes) -> Terms:
    values = {"seller_state": "29", "place": "29", "day": DAY, "rates": RATES} | changes
    return Terms(**values)


def worked(**changes) -> Totals:
    return compute(ORDER, terms(**changes), discount_paise=500_00, shipping_paise=99_00)


def test_the_worked_order_within_the_state():
    totals = worked()

    assert totals.payable_paise == 639500
    assert [line.discount_paise for line in totals.lines] == [22057, 25743, 2200]
    assert [(line.goods.taxable_paise, line.goods.half_paise) for line in totals.lines] == [
        (264517, 6613),
        (274709, 24724),
        (27700, 0),
    ]
    assert [(line.charges.taxable_paise, line.charges.half_paise) for line in totals.lines] == [
        (4159, 104),
        (4319, 389),
        (436, 0),
    ]
    assert totals.kinds == ("cgst", "sgst")


def test_the_worked_order_between_states():
    totals = worked(place="27")

    assert totals.payable_paise == 639500
    assert [line.goods.igst_paise for line in totals.lines] == [13226, 49448, 0]
    assert [line.charges.igst_paise for line in totals.lines] == [208, 778, 0]
    assert totals.kinds == ("igst",)


def test_delivery_at_the_highest_rate_of_the_goods():
    totals = worked(charge_tax=ChargeTax.HIGHEST)

    charges = totals.lines[1].charges
    assert (charges.taxable_paise, charges.half_paise) == (8390, 755)
    assert [line.charges_paise for line in totals.lines] == [0, 9900, 0]


def test_delivery_at_the_rate_of_the_principal_goods():
    shirts_first = compute(
        [SHIRTS, BOOK], terms(charge_tax=ChargeTax.PRINCIPAL), shipping_paise=99_00
    )

    assert [line.charges_paise for line in shirts_first.lines] == [9900, 0]
    assert shirts_first.lines[0].basis_points == 500


def test_a_union_territory_without_a_legislature_has_utgst():
    assert worked(seller_state="04", place="04").kinds == ("cgst", "utgst")
    assert worked(seller_state="07", place="07").kinds == ("cgst", "sgst")


def test_a_seller_who_charges_no_tax():
    totals = worked(is_taxed=False)

    assert (totals.tax_paise, totals.kinds, totals.payable_paise) == (0, (), 639500)


def test_delivery_is_spread_over_what_is_left_of_the_lines():
    coins = [Goods(1, 1, "exempt"), Goods(1, 1, "exempt")]

    totals = compute(coins, terms(), discount_paise=1, shipping_paise=10)

    assert [line.charges_paise for line in totals.lines] == [0, 10]


@pytest.mark.parametrize(("discount_paise", "rate"), [(500_00, 500), (499_00, 1800)])
def test_the_rate_is_that_of_the_price_after_discount(discount_paise, rate):
    shirt = Goods(1, 3000_00, "apparel")

    totals = compute([shirt], terms(is_inclusive=False), discount_paise=discount_paise)

    assert totals.lines[0].basis_points == rate


@pytest.mark.parametrize(("price", "round_off"), [(299_49, -49), (299_50, 50), (299_00, 0)])
def test_a_shop_may_round_to_the_rupee(price, round_off):
    book = Goods(1, price, "exempt")

    assert compute([book], terms(rounds_to_rupee=True)).round_off_paise == round_off
    assert compute([book], terms()).round_off_paise == 0


def test_goods_for_nothing_with_delivery():
    totals = compute([BOOK, MIXER], terms(), discount_paise=3798_00, shipping_paise=99_00)

    assert totals.payable_paise == 9900
    assert sum(line.charges_paise for line in totals.lines) == 9900


@pytest.mark.parametrize(
    "amounts",
    [{"discount_paise": 299_01}, {"discount_paise": -1}, {"shipping_paise": -1}, {"fee_paise": -1}],
)
def test_impossible_amounts_are_refused(amounts):
    with pytest.raises(ValueError, match=r"discount|negative"):
        compute([BOOK], terms(), **amounts)


def test_goods_without_a_rate_are_refused():
    with pytest.raises(NoRate, match="jewellery"):
        compute([Goods(1, 100, "jewellery")], terms())


GOODS = st.builds(
    Goods,
    units=st.integers(1, 20),
    gross_paise=st.integers(0, 10**9),
    tax_class=st.sampled_from(["apparel", "standard", "exempt", "gold"]),
)
CARTS = st.lists(GOODS, min_size=1, max_size=12)
STATES = st.sampled_from(["04", "07", "27", "29", "33"])
RULES = st.fixed_dictionaries(
    {
        "seller_state": STATES,
        "place": STATES,
        "is_taxed": st.booleans(),
        "is_inclusive": st.booleans(),
        "charge_tax": st.sampled_from(ChargeTax),
        "rounds_to_rupee": st.booleans(),
    }
)


@st.composite
def priced(draw, rules=RULES) -> tuple[list[Goods], dict, dict]:
    cart = draw(CARTS)
    amounts = {
        "discount_paise": draw(st.integers(0, sum(line.gross_paise for line in cart))),
        "shipping_paise": draw(st.integers(0, 100_000)),
        "fee_paise": draw(st.integers(0, 10_000)),
    }
    return cart, draw(rules), amounts


@given(priced())
def test_every_composition_adds_up(case):
    cart, rules, amounts = case

    totals = compute(cart, terms(**rules), **amounts)

    assert totals.payable_paise == (
        totals.goods_paise
        - totals.discount_paise
        + totals.added_tax_paise
        + totals.shipping_paise
        + totals.fee_paise
        + totals.round_off_paise
    )
    parts = [part for line in totals.lines for part in (line.goods, line.charges)]
    assert sum(part.total_paise for part in parts) + totals.round_off_paise == totals.payable_paise
    assert sum(part.tax_paise for part in parts) == totals.tax_paise
    assert sum(line.discount_paise for line in totals.lines) == amounts["discount_paise"]
    assert sum(line.charges_paise for line in totals.lines) == (
        amounts["shipping_paise"] + amounts["fee_paise"]
    )
    assert min(min(part.taxable_paise, part.tax_paise) for part in parts) >= 0
    assert abs(totals.round_off_paise) <= 50


@given(priced())
def test_within_a_state_there_are_halves_and_between_states_one_tax(case):
    cart, rules, amounts = case

    totals = compute(cart, terms(**rules), **amounts)

    parts = [part for line in totals.lines for part in (line.goods, line.charges)]
    if rules["seller_state"] == rules["place"]:
        assert not any(part.igst_paise for part in parts)
    else:
        assert not any(part.half_paise for part in parts)


@given(priced(), STATES)
def test_an_inclusive_total_does_not_depend_on_the_state(case, other):
    cart, rules, amounts = case
    rules = rules | {"is_inclusive": True}

    here = compute(cart, terms(**rules), **amounts)
    there = compute(cart, terms(**rules | {"place": other}), **amounts)

    assert here.payable_paise == there.payable_paise


@given(priced())
def test_what_is_stored_is_what_was_computed(case):
    cart, rules, amounts = case
    totals = compute(cart, terms(**rules), **amounts)

    restored = Totals.from_json(json.loads(json.dumps(totals.to_json())))

    assert restored == totals
    assert restored.digest == totals.digest


def test_another_figure_is_another_digest():
    assert worked().digest == worked().digest
    assert worked().digest != worked(place="27").digest
