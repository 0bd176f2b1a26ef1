"""`manage.py seed` creates a catalogue, a superuser and, with DEBUG, a user of each role."""

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


def test_with_debug_there_is_a_user_of_each_role(password, settings):
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


def test_without_debug_there_is_a_superuser_only(password, settings):
    settings.DEBUG = False

    assert seeded() == {"admin@pakka.local"}


def seed_again(*options: str) -> User:
    """Run it after the superuser has changed their account."""
    call_command("seed")
    person = User.objects.get(email="admin@pakka.local")
    person.set_password("of their own")
    person.is_superuser = False
    person.save()
    call_command("seed", *options)
    return User.objects.get(pk=person.pk)


def test_changed_users_stay_as_they_are(password, settings):
    settings.DEBUG = True
    call_command("seed")
    viewer = User.objects.get(email="viewer@pakka.local")
    viewer.groups.clear()

    person = seed_again()

    assert person.check_password("of their own")
    assert not person.is_superuser
    assert not viewer.groups.exists()


def test_passwords_are_reset_on_request(password):
    assert seed_again("--reset-passwords").check_password("open sesame")


def test_without_a_password_no_user_is_created(monkeypatch):
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)

    assert seeded() == set()
    assert Variant.objects.exists()
