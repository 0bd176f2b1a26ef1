"""Registration, sign-in, token refresh, guests, and the merge of a guest's cart."""

import pytest

from shop.accounts import User
from shop.carts import MAX_LINE_UNITS, CartItem
from tests.support.api import PASSWORD, Caller, granted, refused
from tests.support.shop import make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

REGISTER = "/api/auth/register/"
SIGN_IN = "/api/auth/token/"
REFRESH = "/api/auth/token/refresh/"
ASHA = {"email": "asha@example.com", "password": PASSWORD}


@pytest.fixture
def real_passwords(settings):
    """Passwords are hashed as in the shop, not by the fast hasher of the tests."""
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[1:]


def sign_in(caller: Caller, credentials: dict = ASHA) -> Caller:
    return Caller(granted(caller.post(SIGN_IN, credentials))["access"])


def quantities(caller: Caller) -> dict[int, int]:
    return {item["variant_id"]: item["quantity"] for item in caller.cart()["items"]}


def test_registering_gives_tokens_that_open_a_cart():
    tokens = granted(Caller().post(REGISTER, ASHA), 201)

    assert set(tokens) == {"access", "refresh"}
    assert Caller(tokens["access"]).cart()["items"] == []


def test_an_email_address_is_normalised():
    Caller().post(REGISTER, ASHA | {"email": " Asha@Example.COM "})

    assert User.objects.get().email == "asha@example.com"
    sign_in(Caller(), ASHA | {"email": "ASHA@example.com"})


@pytest.mark.parametrize("spelt", ["ＡＳＨＡ@example.com", "aſha@ｅxample.com"])
def test_two_spellings_of_an_email_address_are_one_account(spelt):
    Caller().post(REGISTER, ASHA | {"email": spelt})

    assert User.objects.get().email == "asha@example.com"
    refused(Caller().post(REGISTER, ASHA), 409, "email_taken")
    sign_in(Caller())


def test_an_account_that_staff_make_has_the_same_spelling(admin_client):
    form = {"email": " Ravi@Example.COM", "created_at_0": "2026-11-22", "created_at_1": "12:00"}

    for _ in range(2):
        admin_client.post("/admin/shop/user/add/", form)

    assert User.objects.filter(email="ravi@example.com").count() == 1
    assert not User.objects.filter(email__contains="Ravi").exists()


def test_a_taken_email_address_is_refused():
    Caller.account(ASHA["email"])

    refused(Caller().post(REGISTER, ASHA | {"email": "ASHA@example.com"}), 409, "email_taken")

    assert User.objects.count() == 1


@pytest.mark.parametrize("password", ["short1!", "password", "8675309867", "asha@example.com"])
def test_a_weak_password_is_refused(password):
    refusal = refused(Caller().post(REGISTER, ASHA | {"password": password}), 400, "invalid")

    assert refusal["details"]["fields"]["password"]
    assert not User.objects.exists()


def test_signing_in_opens_the_same_cart_as_before(real_passwords):
    asha = Caller.account(ASHA["email"])
    assert User.objects.get().password.startswith("argon2")
    asha.add(make_variant())

    assert sign_in(Caller()).cart() == asha.cart()


def test_a_wrong_password_and_an_unknown_account_get_the_same_response():
    Caller.account(ASHA["email"])

    wrong = Caller().post(SIGN_IN, ASHA | {"password": "something else"})
    unknown = Caller().post(SIGN_IN, ASHA | {"email": "nobody@example.com"})

    assert refused(wrong, 401, "bad_credentials") == refused(unknown, 401, "bad_credentials")
    assert wrong["WWW-Authenticate"].startswith("Bearer")


def test_a_deactivated_account_cannot_sign_in_or_refresh():
    refresh = granted(Caller().post(REGISTER, ASHA), 201)["refresh"]
    User.objects.update(is_active=False)

    refused(Caller().post(SIGN_IN, ASHA), 401, "bad_credentials")
    refused(Caller().post(REFRESH, {"refresh": refresh}), 401, "no_active_account")


def test_a_refresh_token_gives_a_new_access_token():
    refresh = granted(Caller().post(REGISTER, ASHA), 201)["refresh"]

    access = granted(Caller().post(REFRESH, {"refresh": refresh}))["access"]

    assert Caller(access).cart()["items"] == []


def test_an_access_token_does_not_refresh():
    asha = Caller.account()

    refused(Caller().post(REFRESH, {"refresh": asha.access}), 401, "token_not_valid")


def test_a_refresh_token_does_not_open_the_cart():
    refresh = granted(Caller().post("/api/auth/guest/"), 201)["refresh"]

    refused(Caller(refresh).get("/api/cart/"), 401, "token_not_valid")


def test_the_refresh_token_of_a_deleted_user_is_no_longer_valid():
    refresh = granted(Caller().post("/api/auth/guest/"), 201)["refresh"]
    User.objects.all().delete()

    refused(Caller().post(REFRESH, {"refresh": refresh}), 401, "token_not_valid")


def test_a_guest_has_a_cart_of_their_own():
    one, other = Caller.guest(), Caller.guest()
    one.add(make_variant())

    assert len(one.cart()["items"]) == 1
    assert other.cart()["items"] == []


def test_a_guest_who_registers_keeps_cart_and_checkouts():
    guest = Caller.guest()
    checkout = guest.check_out()

    account = Caller(granted(guest.post(REGISTER, ASHA), 201)["access"])

    cart = account.cart()
    assert (cart["id"], cart["items_count"]) == (checkout["cart_id"], 1)
    assert account.status(checkout)["id"] == checkout["id"]
    again = granted(account.post_checkout(cart_version=cart["version"]), 202)
    assert again["id"] == checkout["id"]  # still the same revision of the same cart


def test_a_guest_whose_registration_is_refused_stays_a_guest():
    Caller.account(ASHA["email"])
    guest = Caller.guest()
    guest.add(make_variant())

    refused(guest.post(REGISTER, ASHA), 409, "email_taken")

    assert User.objects.get(pk=guest.user_id).is_guest
    assert guest.cart()["items_count"] == 1


def test_registering_twice_with_one_guest_token_opens_two_accounts():
    guest = Caller.guest()
    first = Caller(granted(guest.post(REGISTER, ASHA), 201)["access"])

    ravi = granted(guest.post(REGISTER, ASHA | {"email": "ravi@example.com"}), 201)

    assert Caller(ravi["access"]).user_id != first.user_id
    assert User.objects.get(pk=first.user_id).email == ASHA["email"]


def test_signing_in_adds_the_guests_quantities_to_the_accounts():
    mug, lamp = make_variant(), make_variant()
    asha, guest = Caller.account(ASHA["email"]), Caller.guest()
    asha.add(mug, quantity=2)
    guest.add(mug, quantity=3)
    guest.add(lamp)

    sign_in(guest)

    assert quantities(asha) == {mug.pk: 5, lamp.pk: 1}
    assert CartItem.objects.filter(cart__owner_id=guest.user_id).count() == 0


def test_a_merged_cart_is_another_version():
    mug = make_variant()
    asha, guest = Caller.account(ASHA["email"]), Caller.guest()
    guest.add(mug)
    before = asha.cart()["version"]

    sign_in(guest)

    assert asha.cart()["version"] > before


@pytest.mark.parametrize(
    ("on_hand", "account", "guest", "merged"),
    [
        (5, 3, 4, 5),  # capped by stock
        (2, 3, 4, 3),  # what the account has already is not taken away
        (0, 0, 4, None),
        (1000, 60, 60, MAX_LINE_UNITS),
    ],
)
def test_merged_quantities_are_capped_by_stock_and_by_the_line_limit(
    on_hand, account, guest, merged
):
    mug = make_variant(on_hand=on_hand)
    asha, visitor = Caller.account(ASHA["email"]), Caller.guest()
    if account:
        asha.add(mug, quantity=account)
    visitor.add(mug, quantity=guest)

    sign_in(visitor)

    assert quantities(asha).get(mug.pk) == merged


def test_signing_in_again_with_the_same_guest_token_adds_nothing():
    mug = make_variant()
    asha, guest = Caller.account(ASHA["email"]), Caller.guest()
    guest.add(mug, quantity=3)

    sign_in(guest)
    sign_in(guest)

    assert quantities(asha) == {mug.pk: 3}


def test_a_guests_checkout_follows_them_into_the_account():
    asha, guest = Caller.account(ASHA["email"]), Caller.guest()
    checkout = guest.check_out()

    sign_in(guest)

    assert asha.status(checkout)["id"] == checkout["id"]
    refused(guest.get(checkout["links"]["self"]), 401, "token_not_valid")


def test_a_wrong_password_does_not_change_the_guests_cart():
    asha, guest = Caller.account(ASHA["email"]), Caller.guest()
    guest.add(make_variant())

    refused(guest.post(SIGN_IN, ASHA | {"password": "something else"}), 401, "bad_credentials")

    assert guest.cart()["items_count"] == 1
    assert asha.cart()["items_count"] == 0


def test_one_account_is_never_merged_into_another():
    mug = make_variant()
    asha, ravi = Caller.account(ASHA["email"]), Caller.account()
    ravi.add(mug)

    sign_in(ravi)

    assert quantities(ravi) == {mug.pk: 1}
    assert quantities(asha) == {}


def test_a_former_guests_old_token_no_longer_merges_their_cart():
    asha, guest = Caller.account(ASHA["email"]), Caller.guest()
    guest.add(make_variant())
    ravi = Caller(
        granted(guest.post(REGISTER, ASHA | {"email": "ravi@example.com"}), 201)["access"]
    )

    sign_in(guest)

    assert asha.cart()["items"] == []
    assert CartItem.objects.get().cart.owner_id == ravi.user_id


def test_an_expired_token_does_not_prevent_signing_in():
    Caller.account(ASHA["email"])

    sign_in(Caller("not.a.token"))
