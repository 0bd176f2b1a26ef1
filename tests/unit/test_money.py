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
def test_rupees_are_written_as_people_in_india_write_them(paise, written):
    assert format_inr(paise) == written


def test_of_another_currency_no_more_is_said_than_we_know():
    assert format_amount(150, "INR") == "₹1.50"
    assert format_amount(150, "JPY") == "150 minor units of JPY"


def test_the_json_number_has_the_paise_exactly():
    assert repr(rupees(2248896)) == "22488.96"
