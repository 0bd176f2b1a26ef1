"""Bearer tokens, stateless: who calls stands in the signed token, so no query is needed for it."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed, InvalidToken
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import RefreshToken, Token

from shop.accounts import User


class BearerToken(JWTStatelessUserAuthentication):
    """`Authorization: Bearer <access token>`."""

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
