"""`manage.py seed` makes a shop to try: goods, and people for the admin where DEBUG is on."""

import pytest
from django.core.management import call_command

from shop import roles
from shop.accounts import User
from shop.catalogue import Variant

pytestmark = pytest.mark.django_db

PEOPLE = {f"{role}@pakka.local" for role in ("viewer", "operator", "refunder")}


@pytest.fixture
def password(monkeypatch):
    monkeypatch.setenv("ADMIN_PASSWORD", "open sesame")


def seeded():
    call_command("seed")
    call_command("seed")
    return set(User.objects.values_list("email", flat=True))


def test_there_is_somebody_of_each_role_to_try_it_as(password, settings):
    settings.DEBUG = True

    assert seeded() == PEOPLE | {"admin@pakka.local"}
    for email, granted in (
        ("viewer@pakka.local", set()),
        ("operator@pakka.local", {roles.OPERATE}),
        ("refunder@pakka.local", {roles.OPERATE, roles.REFUND}),
    ):
        person = User.objects.get(email=email)
        assert (person.is_staff, person.is_superuser) == (True, False)
        assert person.check_password("open sesame")
        assert person.get_all_permissions() & {roles.OPERATE, roles.REFUND} == granted
        assert person.has_perm("shop.view_checkoutjob")


def test_a_real_shop_gets_an_administrator_alone(password, settings):
    settings.DEBUG = False

    assert seeded() == {"admin@pakka.local"}


def seed_again(*options: str) -> User:
    """After the administrator has changed what `seed` had given them."""
    call_command("seed")
    person = User.objects.get(email="admin@pakka.local")
    person.set_password("of their own")
    person.is_superuser = False
    person.save()
    call_command("seed", *options)
    return User.objects.get(pk=person.pk)


def test_what_people_changed_stays(password, settings):
    settings.DEBUG = True
    call_command("seed")
    viewer = User.objects.get(email="viewer@pakka.local")
    viewer.groups.clear()

    person = seed_again()

    assert person.check_password("of their own")
    assert not person.is_superuser
    assert not viewer.groups.exists()


def test_passwords_are_set_back_on_request(password):
    assert seed_again("--reset-passwords").check_password("open sesame")


def test_without_a_password_nobody_is_made(monkeypatch):
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)

    assert seeded() == set()
    assert Variant.objects.exists()
