"""Bearer tokens, stateless: who calls stands in the signed token, so no query is needed for it."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed, InvalidToken, TokenError
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import aware_utcnow

from shop.accounts import User

TOKENS_REMEMBERED = 4096  # by each process, at a kilobyte each


@lru_cache(maxsize=TOKENS_REMEMBERED)
def _verified(raw_token: bytes) -> AccessToken:
    """
    A storefront that polls sends one token again and again: its signature is checked once, its end
    every time.

    :raises TokenError: it is not ours, or was over when it first came.
    """
    return AccessToken(raw_token)  # type: ignore[arg-type]


class BearerToken(JWTStatelessUserAuthentication):
    """`Authorization: Bearer <access token>`."""

    def get_validated_token(self, raw_token: bytes) -> Token:
        try:
            token = _verified(raw_token)
            token.check_exp(current_time=aware_utcnow())
        except TokenError:
            return super().get_validated_token(raw_token)  # which says what is wrong with it
        return token

    def get_user(self, validated_token: Token) -> TokenUser:  # type: ignore[override]
        user_id = str(validated_token.get("user_id", ""))
        if not (user_id.isascii() and user_id.isdigit()):
            raise InvalidToken("no user in the token")
        return TokenUser(validated_token)


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerToken
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def caller_id(request: Request) -> int:
    """The id of the user whose token came with the request."""
    return int(str(request.user.pk))


def buyer_of(request: HttpRequest) -> TokenUser | None:
    """Whose good token came with a request that DRF has not seen. None without one."""
    try:
        found = BearerToken().authenticate(cast("Request", request))  # it reads headers alone
    except (AuthenticationFailed, InvalidToken):
        return None
    return cast("TokenUser", found[0]) if found else None


def presented_guest_id(request: Request) -> int | None:
    """The guest whose token came with a sign-in. No token, or a bad one, is no guest."""
    try:
        found = BearerToken().authenticate(request)
    except (AuthenticationFailed, InvalidToken):
        return None
    if found is None or not found[1].get("guest"):
        return None
    return int(found[0].pk)


def tokens(user: User) -> dict[str, str]:
    """A fresh pair of tokens. What they claim is true for as long as they live."""
    refresh = RefreshToken.for_user(user)
    refresh["guest"] = user.is_guest
    refresh["staff"] = user.is_staff
    return {"access": str(refresh.access_token), "refresh": str(refresh)}
