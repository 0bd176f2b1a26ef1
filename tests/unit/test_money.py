import pytest

from shop.money import format_amount, format_inr, rupees


@pytest.mark.parametrize(
    ("paise", "written"),
    [
        (0, "₹0.00"),
        (5, "₹0.05"),
        (99900, "₹999.00"),
        (2248896, "₹22,488.96"),
        (12248896, "₹1,22,488.96"),
        (123456789012, "₹1,23,45,67,890.12"),
        (-150, "-₹1.50"),
    ],
)
def test_rupees_have_indian_digit_grouping(paise, written):
    assert format_inr(paise) == written


@pytest.mark.parametrize(
    ("minor_units", "currency", "written"),
    [
        (150, "INR", "₹1.50"),
        (1200, "USD", "USD 12.00"),
        (5, "USD", "USD 0.05"),
        (-150, "EUR", "EUR -1.50"),
        (1200, "JPY", "JPY 1200"),
        (1234, "KWD", "KWD 1.234"),
        (123456789012, "USD", "USD 1234567890.12"),
        (150, "rupees", "150 minor units of rupees"),
    ],
)
def test_an_amount_is_written_in_its_own_currency(minor_units, currency, written):
    assert format_amount(minor_units, currency) == written


def test_the_json_number_has_the_paise_exactly():
    assert repr(rupees(2248896)) == "22488.96"
