"""The routes for the buyer's browser: the script, the calls of its form, the hosted page."""

import html
import json
from pathlib import Path
from string import Template
from typing import Any

from workers.standin import checkout, methods, validation
from workers.standin.account import NO_CONTACT, NO_EMAIL, PaymentRequest
from workers.standin.entities import order_entity
from workers.standin.errors import ApiError, refusal, unauthorized
from workers.standin.records import Order
from workers.standin.replies import Reply, json_reply, refused
from workers.standin.server import Handler

STATIC = Path(__file__).parent / "static"
# An addition to the documented success@razorpay and failure@razorpay: the bank does not answer.
SILENT_VPA = "silent@standin"
HOSTED_FIELDS = ("key_id", "order_id", "callback_url", "cancel_url", "name", "description")


class AssetHandler(Handler):
    """Serves the scripts. Reads them for each request, so that edits need no restart."""

    def get(self, name: str) -> None:
        body = (STATIC / name).read_bytes()
        self.set_header("Cache-Control", "no-store")
        self.answer(Reply(200, body, "text/javascript; charset=utf-8"))


class PublicHandler(Handler):
    """Base of the routes that any page may call with the key id alone."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Allow-Headers", "Content-Type")
        self.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS")

    def options(self) -> None:
        self.answer(Reply(204, b""))

    def order(self, fields: dict[str, Any]) -> Order:
        """The order in `fields`. :raises ApiError: an unknown key or order."""
        if fields.get("key_id") != self.standin.settings.key_id:
            raise unauthorized(key_known=False)
        order = self.standin.account.orders.get(str(fields.get("order_id")))
        if order is None:
            raise refusal("unknown_id")
        return order

    def fields(self) -> dict[str, Any]:
        """The fields of the form or JSON body."""
        if self.request.headers.get("Content-Type", "").startswith("application/json"):
            return validation.parse_body(self.request.body, wording="new")
        return {name: self.get_argument(name) for name in self.request.arguments}


class PreferencesHandler(PublicHandler):
    """The order, for the form."""

    def get(self) -> None:
        try:
            self.answer(json_reply({"order": order_entity(self.order(self.fields()))}))
        except ApiError as error:
            self.answer(refused(error))


class PayHandler(PublicHandler):
    """
    One attempt to pay, as the form makes it. The test values decide its outcome.

    Answers 200 with the three fields for the handler, 400 with the `error` of `payment.failed`, or
    200 with only the payment's id if the bank does not answer. Each call is a new attempt.
    """

    def post(self) -> None:
        try:
            self.answer(self._pay(self.fields()))
        except ApiError as error:
            self.answer(refused(error))

    def _pay(self, fields: dict[str, Any]) -> Reply:
        order = self.order(fields)
        payment_request = _payment_request(fields)
        failure = methods.failure_of(
            payment_request.method, vpa=payment_request.vpa, card_number=payment_request.card_number
        )
        silent = payment_request.vpa == SILENT_VPA
        payment = checkout.pay(
            self.standin.account,
            order,
            payment_request,
            outcome="created" if silent else "failed" if failure else "paid",
            failure=failure,
        )
        if failure:
            return json_reply({"error": checkout.failure_fields(payment)}, status=400)
        if silent:
            return json_reply({"razorpay_payment_id": payment.id, "status": payment.status})
        key_secret = self.standin.settings.key_secret
        return json_reply(checkout.handler_fields(payment, key_secret=key_secret))


def _payment_request(fields: dict[str, Any]) -> PaymentRequest:
    method = fields.get("method", "upi")
    if method not in methods.METHODS:
        raise refusal("field_wrong", field="method")
    notes = {
        name[len("notes[") : -1]: value
        for name, value in fields.items()
        if name.startswith("notes[") and name.endswith("]")
    }
    return PaymentRequest(
        method=method,
        vpa=fields.get("vpa", ""),
        card_number=fields.get("card[number]", ""),
        email=fields.get("email") or NO_EMAIL,
        contact=fields.get("contact") or NO_CONTACT,
        notes=notes,
    )


class HostedHandler(PublicHandler):
    """The pay form as a separate page, for redirects. The page posts to `callback_url`."""

    def post(self) -> None:
        try:
            self.order(self.fields())
        except ApiError as error:
            self.answer(refused(error))
            return
        options = {name: self.get_argument(name, "") for name in HOSTED_FIELDS}
        page = Template((STATIC / "hosted.html").read_text()).substitute(
            options=html.escape(json.dumps(options))
        )
        self.set_header("Cache-Control", "no-store")
        self.answer(Reply(200, page.encode(), "text/html; charset=utf-8"))


ADDRESSES: list[tuple[str, type[Handler]]] = [
    (r"/v1/(checkout\.js)", AssetHandler),
    (r"/v1/checkout/(hosted\.js)", AssetHandler),
    (r"/v1/checkout/preferences", PreferencesHandler),
    (r"/v1/checkout/embedded", HostedHandler),
    (r"/v1/payments/create/ajax", PayHandler),
]
