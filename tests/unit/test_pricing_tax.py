"""GST on one amount: vectors, and the rate that depends on the price."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.pricing.rounding import half_up, share_of_units, spread
from shop.pricing.tax import (
    NoRate,
    Rate,
    in_band_without_rate,
    rate_of,
    rates_on,
    split_exclusive,
    split_inclusive,
    warning_of,
)

APPAREL = [
    Rate("apparel", 500, date(2025, 9, 22), up_to_paise=2500_00),
    Rate("apparel", 1800, date(2025, 9, 22)),
]
PAISE = st.integers(0, 10**11)
BASIS_POINTS = st.sampled_from([0, 25, 150, 300, 500, 1800, 4000])


@pytest.mark.parametrize(
    ("gross", "rate", "taxable_between", "igst", "taxable_within", "half"),
    [
        (100000, 1800, 84746, 15254, 84746, 7627),
        (99900, 500, 95143, 4757, 95142, 2379),
        (2248896, 1800, 1905844, 343052, 1905844, 171526),
        (4900, 1800, 4153, 747, 4152, 374),
        (4900, 500, 4667, 233, 4666, 117),
        (50000, 4000, 35714, 14286, 35714, 7143),
        (1000000, 25, 997506, 2494, 997506, 1247),
        (5000000, 300, 4854369, 145631, 4854368, 72816),
        (100, 1800, 85, 15, 84, 8),
        (1, 1800, 1, 0, 1, 0),
        (262500, 500, 250000, 12500, 250000, 6250),
        (295001, 1800, 250001, 45000, 250001, 22500),
    ],
)
def test_tax_is_taken_out_of_a_price(gross, rate, taxable_between, igst, taxable_within, half):
    between = split_inclusive(gross, rate, within_state=False)
    within = split_inclusive(gross, rate, within_state=True)

    assert (between.taxable_paise, between.igst_paise, between.half_paise) == (
        taxable_between,
        igst,
        0,
    )
    assert (within.taxable_paise, within.igst_paise, within.half_paise) == (taxable_within, 0, half)


@pytest.mark.parametrize(
    ("taxable", "rate", "igst", "half", "total_between", "total_within"),
    [
        (6251, 1800, 1125, 563, 7376, 7377),
        (333, 500, 17, 8, 350, 349),
        (251, 500, 13, 6, 264, 263),
        (84746, 1800, 15254, 7627, 100000, 100000),
    ],
)
def test_tax_is_put_on_top_of_a_price(taxable, rate, igst, half, total_between, total_within):
    between = split_exclusive(taxable, rate, within_state=False)
    within = split_exclusive(taxable, rate, within_state=True)

    assert (between.igst_paise, between.total_paise) == (igst, total_between)
    assert (within.half_paise, within.total_paise) == (half, total_within)


@given(gross=PAISE, rate=BASIS_POINTS)
def test_the_parts_of_an_inclusive_price_add_up_to_it_in_every_state(gross, rate):
    assert split_inclusive(gross, rate, within_state=True).total_paise == gross
    assert split_inclusive(gross, rate, within_state=False).total_paise == gross


@given(gross=PAISE, rate=BASIS_POINTS, within=st.booleans())
def test_no_part_of_an_inclusive_price_is_negative(gross, rate, within):
    split = split_inclusive(gross, rate, within_state=within)

    assert min(split.taxable_paise, split.igst_paise, split.half_paise) >= 0


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [(5, 10, 1), (15, 10, 2), (25, 10, 3), (4, 10, 0), (0, 10, 0), (149, 100, 1), (150, 100, 2)],
)
def test_a_half_is_rounded_up(numerator, denominator, rounded):
    assert half_up(numerator, denominator) == rounded


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (10000, [50000, 30000, 19999], [5000, 3000, 2000]),
        (1000, [1, 1, 1], [334, 333, 333]),
        (1, [5, 5, 5], [1, 0, 0]),
        (20000, [99900, 249900], [5712, 14288]),
        (0, [0, 0], [0, 0]),
        (50000, [299800, 349900, 29900], [22057, 25743, 2200]),
        (9900, [277743, 324157, 27700], [4367, 5097, 436]),
    ],
)
def test_an_amount_is_spread_by_largest_remainder(amount, weights, parts):
    assert spread(amount, weights) == parts


def test_an_amount_is_not_spread_over_nothing():
    with pytest.raises(ValueError, match="weights are 0"):
        spread(1, [0, 0])


@given(weights=st.lists(PAISE, min_size=1, max_size=12), data=st.data())
def test_spread_parts_add_up_and_none_exceeds_its_weight(weights, data):
    amount = data.draw(st.integers(0, sum(weights)))

    parts = spread(amount, weights)

    assert sum(parts) == amount
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))


@pytest.mark.parametrize(
    ("amount", "units", "shares"),
    [
        (20000, 3, [6667, 6666, 6667]),
        (29999, 7, [4286, 4285, 4286, 4285, 4286, 4285, 4286]),
    ],
)
def test_shares_of_single_pieces_are_cumulative(amount, units, shares):
    given_out = [
        share_of_units(amount, units=1, already=piece, of_units=units) for piece in range(units)
    ]
    assert given_out == shares


@given(amount=PAISE, groups=st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_shares_of_all_pieces_add_up_in_whatever_groups(amount, groups):
    units, already, shares = sum(groups), 0, []
    for group in groups:
        shares.append(share_of_units(amount, units=group, already=already, of_units=units))
        already += group

    assert sum(shares) == amount


def test_no_share_is_given_for_more_pieces_than_there_are():
    with pytest.raises(ValueError, match="2 and 2 more of 3"):
        share_of_units(100, units=2, already=2, of_units=3)


@pytest.mark.parametrize(
    ("price", "rate", "is_in_band"),
    [
        (2625_00, 500, False),
        (2625_01, 1800, True),
        (2800_00, 1800, True),
        (2950_00, 1800, True),
        (2950_01, 1800, False),
    ],
)
def test_the_rate_of_apparel_depends_on_the_value_of_a_piece(price, rate, is_in_band):
    chosen = rate_of(APPAREL, net_paise=price, units=1, is_inclusive=True)

    assert chosen.basis_points == rate
    assert in_band_without_rate(APPAREL, price_paise=price) is is_in_band
    assert bool(warning_of(APPAREL, price_paise=price)) is is_in_band


def test_the_limit_is_on_one_piece_not_on_the_line():
    assert rate_of(APPAREL, net_paise=4 * 2625_00, units=4, is_inclusive=True).basis_points == 500
    assert (
        rate_of(APPAREL, net_paise=4 * 2625_00 + 1, units=4, is_inclusive=True).basis_points == 1800
    )


def test_the_limit_is_compared_with_prices_before_tax_as_they_are():
    assert rate_of(APPAREL, net_paise=2500_00, units=1, is_inclusive=False).basis_points == 500
    assert rate_of(APPAREL, net_paise=2500_01, units=1, is_inclusive=False).basis_points == 1800


def test_a_coupon_can_change_the_rate():
    """Notification 9/2025: the transaction value counts, after discount."""
    shirt = 3000_00
    with_500 = rate_of(APPAREL, net_paise=shirt - 500_00, units=1, is_inclusive=False)
    with_499 = rate_of(APPAREL, net_paise=shirt - 499_00, units=1, is_inclusive=False)
    assert (with_500.basis_points, with_499.basis_points) == (500, 1800)


def test_rates_begin_and_end_with_their_days():
    old = Rate("tobacco", 2800, date(2017, 7, 1), until=date(2026, 2, 1))
    new = Rate("tobacco", 4000, date(2026, 2, 1))

    assert rates_on(date(2026, 1, 31), [new, old], tax_class="tobacco") == [old]
    assert rates_on(date(2026, 2, 1), [new, old], tax_class="tobacco") == [new]
    with pytest.raises(NoRate, match="tobacco"):
        rates_on(date(2017, 6, 30), [new, old], tax_class="tobacco")


def test_a_table_without_a_rate_for_dear_pieces_is_refused():
    with pytest.raises(NoRate):
        rates_on(date(2026, 1, 1), APPAREL[:1], tax_class="apparel")
