"""
Stateless bearer tokens: the signed token names the caller, so authentication needs no query.

Each token also carries the `session_hash` of its user. Refresh tokens and calls by staff are
refused once the user's hash has changed (`session_user`); a buyer's access token is valid until it
expires.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed, InvalidToken, TokenError
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import aware_utcnow

from shop.accounts import User

SESSION_ENDED = "This session has ended. Please sign in again."
MAX_CACHED_TOKENS = 4096  # per process, about 1 KB each


@lru_cache(maxsize=MAX_CACHED_TOKENS)
def _verify(raw_token: bytes) -> AccessToken:
    """
    Verify a token's signature once per process; the caller checks the expiry each time.

    A polling storefront sends the same token with every request (docs/decisions/speed.md).

    :raises TokenError: the token is not genuine, or had expired at the first call.
    """
    return AccessToken(raw_token)  # type: ignore[arg-type]


class BearerToken(JWTStatelessUserAuthentication):
    """`Authorization: Bearer <access token>`."""

    def get_validated_token(self, raw_token: bytes) -> Token:
        try:
            token = _verify(raw_token)
            token.check_exp(current_time=aware_utcnow())
        except TokenError:
            return super().get_validated_token(raw_token)  # raises the specific error
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
    """The user id in the request's token."""
    return int(str(request.user.pk))


def buyer_of(request: HttpRequest) -> TokenUser | None:
    """The user of a request that has not passed through DRF; None without a valid token."""
    try:
        found = BearerToken().authenticate(cast("Request", request))  # reads only headers
    except (AuthenticationFailed, InvalidToken):
        return None
    return cast("TokenUser", found[0]) if found else None


def presented_guest_id(request: Request) -> int | None:
    """The id of the guest whose token came with a sign-in; None without a valid guest token."""
    try:
        found = BearerToken().authenticate(request)
    except (AuthenticationFailed, InvalidToken):
        return None
    if found is None or not found[1].get("guest"):
        return None
    return int(found[0].pk)


def session_user(token: Token) -> User:
    """
    Return the user of a token, unless the session has ended since it was issued. One query.

    :raises AuthenticationFailed: the user was deleted or deactivated, changed the password, or
        signed out.
    """
    user = User.objects.filter(pk=int(token["user_id"])).first()
    if user is None:
        raise AuthenticationFailed(SESSION_ENDED, "token_not_valid")
    if not user.is_active:
        raise AuthenticationFailed(SESSION_ENDED, "no_active_account")
    if not constant_time_compare(token.get("session", ""), user.session_hash):
        raise AuthenticationFailed(SESSION_ENDED, "session_ended")
    return user


def verify_refresh(raw_token: str) -> RefreshToken:
    """:raises InvalidToken: the token is not genuine, not a refresh token, or expired."""
    try:
        return RefreshToken(raw_token)  # type: ignore[arg-type]
    except TokenError as error:
        raise InvalidToken(str(error)) from error


def issue_tokens(user: User) -> dict[str, str]:
    """Issue an access and a refresh token."""
    refresh = RefreshToken.for_user(user)
    refresh["guest"] = user.is_guest
    refresh["staff"] = user.is_staff
    refresh["session"] = user.session_hash
    return {"access": str(refresh.access_token), "refresh": str(refresh)}
