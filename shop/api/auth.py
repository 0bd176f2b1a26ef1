"""
Bearer tokens, stateless: who calls stands in the signed token, so no query is needed for it.

Each token also carries the `session_hash` of its user. A refresh token and a call of staff are
refused when it is no longer theirs (`signed_in`); an access token of a buyer lives to its end.
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

from shop.accounts import NoSuchBuyer, User

SESSION_ENDED = "This session has ended. Please sign in again."
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


def signed_in(token: Token) -> User:
    """
    The user of a token, if their session has not ended since it was made. One query.

    :raises AuthenticationFailed: they were deleted or switched off, have another password, or have
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


def refuse_ended(request: Request) -> None:
    """
    For where nothing of the caller's was found: of an ended guest everything is the account's now.

    :raises NoSuchBuyer: the caller was deleted, switched off or merged.
    """
    if not User.objects.filter(pk=caller_id(request), is_active=True).exists():
        raise NoSuchBuyer(caller_id(request))


def verified_refresh(raw_token: str) -> RefreshToken:
    """:raises InvalidToken: it is not ours, not for refreshing, or over."""
    try:
        return RefreshToken(raw_token)  # type: ignore[arg-type]
    except TokenError as error:
        raise InvalidToken(str(error)) from error


def tokens(user: User) -> dict[str, str]:
    """A fresh pair of tokens. What they claim is true for as long as they live."""
    refresh = RefreshToken.for_user(user)
    refresh["guest"] = user.is_guest
    refresh["staff"] = user.is_staff
    refresh["session"] = user.session_hash
    return {"access": str(refresh.access_token), "refresh": str(refresh)}
