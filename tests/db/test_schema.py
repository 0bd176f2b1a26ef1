"""The OpenAPI schema says what the API does, and the API does what it says."""

from __future__ import annotations

from io import StringIO

import pytest
import schemathesis
from django.core.management import call_command
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from shop.api.limits import Throttle
from shop.wsgi import application
from tests.support.api import Caller, one_connection
from tests.support.shop import make_variant

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    ignored_auth,
)
FEW = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_schema_is_valid_and_nothing_in_it_is_guessed():
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=StringIO())


@pytest.fixture
def schema():
    with one_connection():
        return schemathesis.openapi.from_wsgi("/api/schema/", application)


@pytest.fixture
def buyer(db, redis, monkeypatch, settings):
    """With a mug in the cart and a checkout; no limit of pace, and hashing that costs nothing."""
    for scope in Throttle.THROTTLE_RATES:
        monkeypatch.setitem(Throttle.THROTTLE_RATES, scope, "100000/day")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    buyer = Caller.guest()
    buyer.check_out(make_variant())
    return buyer


generated = schemathesis.pytest.from_fixture("schema")


@generated.parametrize()
@FEW
def test_whatever_is_sent_the_answer_is_one_that_the_schema_knows(buyer, case):
    with one_connection():
        case.call_and_validate(headers={"Authorization": f"Bearer {buyer.access}"}, checks=CHECKS)
