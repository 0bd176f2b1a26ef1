import pytest

pytest.register_assert_rewrite(f"{__name__}.money_books")  # so that it shows both books
