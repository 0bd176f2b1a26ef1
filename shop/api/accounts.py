"""Register, sign in and out, refresh tokens, or shop as a guest."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from shop import accounts
from shop.api import login_throttle
from shop.api.auth import issue_tokens, presented_guest_id, session_user, verify_refresh
from shop.api.errors import CHALLENGE, ApiError
from shop.api.openapi import THROTTLED, WITH_BODY, refusals
from shop.api.throttling import Throttle
from shop.checkout import guests

MIN_PASSWORD_CHARS = 8  # as MinimumLengthValidator has it
MAX_PASSWORD_CHARS = 128  # hashing costs by length


class Tokens(serializers.Serializer):
    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)


class EmailField(serializers.EmailField):
    """Normalised before the length check: some letters become longer in lower case."""

    def to_internal_value(self, data: Any) -> str:
        return accounts.normalise_email(super().to_internal_value(data))


class Credentials(serializers.Serializer):
    email = EmailField(max_length=254)
    password = serializers.CharField(max_length=MAX_PASSWORD_CHARS, trim_whitespace=False)


class NewAccount(Credentials):
    password = serializers.CharField(
        min_length=MIN_PASSWORD_CHARS,
        max_length=MAX_PASSWORD_CHARS,
        trim_whitespace=False,
        help_text="Not a common password, not similar to the e-mail address, not only digits.",
    )

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        try:
            validate_password(attrs["password"], accounts.User(email=attrs["email"]))
        except DjangoValidationError as error:
            raise serializers.ValidationError({"password": error.messages}) from error
        return attrs


class AccountView(APIView):
    authentication_classes = ()  # a guest's token is optional, and an expired one is ignored
    permission_classes = ()
    throttle_classes = (Throttle,)
    throttle_scope = "sign_in"

    def get_authenticate_header(self, request: Request) -> str:
        return CHALLENGE  # without a challenge DRF turns a 401 into a 403


class Register(AccountView):
    """
    Open an account. With a guest's token, the guest's cart, checkouts and orders become the
    account's, and the guest's tokens are no longer valid.
    """

    @extend_schema(
        request=NewAccount, responses={201: Tokens} | refusals(*WITH_BODY, 409, THROTTLED)
    )
    def post(self, request: Request) -> Response:
        given = NewAccount(data=request.data)
        given.is_valid(raise_exception=True)
        user = guests.register(
            **given.validated_data, guest_id=presented_guest_id(request), now=timezone.now()
        )
        login_throttle.remember_address(given.validated_data["email"], request)
        return Response(issue_tokens(user), status=status.HTTP_201_CREATED)


class SignIn(AccountView):
    """
    Get tokens. With a guest's token, the guest's cart is added to the account's, the guest's
    checkouts and orders become the account's, and the guest's tokens are no longer valid.
    """

    @extend_schema(
        request=Credentials, responses={200: Tokens} | refusals(*WITH_BODY, 401, THROTTLED)
    )
    def post(self, request: Request) -> Response:
        given = Credentials(data=request.data)
        given.is_valid(raise_exception=True)
        email = given.validated_data["email"]
        if seconds := login_throttle.count_attempt(email, request):
            raise exceptions.Throttled(seconds)
        user = authenticate(request, username=email, password=given.validated_data["password"])
        if not isinstance(user, accounts.User):
            raise ApiError(401, "bad_credentials", "E-mail address or password is wrong.")
        login_throttle.succeeded(email, request)
        if guest_id := presented_guest_id(request):
            guests.merge_guest(guest_id=guest_id, into_id=user.pk, now=timezone.now())
        return Response(issue_tokens(user))


class Guest(AccountView):
    """Get tokens of a new guest, to shop without an account."""

    throttle_scope = "guest"

    @extend_schema(request=None, responses={201: Tokens} | refusals(THROTTLED))
    def post(self, request: Request) -> Response:
        guest = accounts.create_guest(now=timezone.now())
        return Response(issue_tokens(guest), status=status.HTTP_201_CREATED)


class RefreshIn(serializers.Serializer):
    refresh = serializers.CharField()


class Access(serializers.Serializer):
    access = serializers.CharField(read_only=True)


class RefreshView(AccountView):
    throttle_scope = "refresh"


class Refresh(RefreshView):
    @extend_schema(
        request=RefreshIn, responses={200: Access} | refusals(*WITH_BODY, 401, THROTTLED)
    )
    def post(self, request: Request) -> Response:
        """A new access token for a refresh token whose session has not ended."""
        refresh = verify_refresh(_given_refresh(request))
        session_user(refresh)
        return Response({"access": str(refresh.access_token)})


class SignOut(RefreshView):
    @extend_schema(request=RefreshIn, responses={204: None} | refusals(*WITH_BODY, THROTTLED))
    def post(self, request: Request) -> Response:
        """
        End every session of the user, on all devices. 204 also if the session had ended before.

        Access tokens of a buyer stay valid until they expire; those of staff are refused at once.
        """
        with suppress(AuthenticationFailed):
            accounts.sign_out(session_user(verify_refresh(_given_refresh(request))).pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _given_refresh(request: Request) -> str:
    given = RefreshIn(data=request.data)
    given.is_valid(raise_exception=True)
    return str(given.validated_data["refresh"])
