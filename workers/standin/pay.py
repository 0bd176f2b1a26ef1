"""What a buyer's browser asks of the stand-in: the script, the form's calls, the hosted page."""

import html
import json
from pathlib import Path
from string import Template
from typing import Any

from workers.standin import checkout, methods, validation
from workers.standin.entities import order_entity
from workers.standin.errors import ApiError, refusal, unauthorized
from workers.standin.records import Order
from workers.standin.replies import Reply, json_reply, refused
from workers.standin.server import Handler
from workers.standin.world import NO_CONTACT, NO_EMAIL, Tender

STATIC = Path(__file__).parent / "static"
# Beside the documented success@razorpay and failure@razorpay: the bank gives no answer.
SILENT_VPA = "silent@standin"
HOSTED_FIELDS = ("key_id", "order_id", "callback_url", "cancel_url", "name", "description")


class AssetHandler(Handler):
    """Scripts. Read afresh each time: they are small, and edited while the stand-in runs."""

    def get(self, name: str) -> None:
        body = (STATIC / name).read_bytes()
        self.set_header("Cache-Control", "no-store")
        self.answer(Reply(200, body, "text/javascript; charset=utf-8"))


class PublicHandler(Handler):
    """Called from any page, with the key id alone."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Allow-Headers", "Content-Type")
        self.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS")

    def options(self) -> None:
        self.answer(Reply(204, b""))

    def order(self, fields: dict[str, Any]) -> Order:
        """:raises ApiError: the key is not ours, or it knows no such order."""
        if fields.get("key_id") != self.standin.settings.key_id:
            raise unauthorized(key_known=False)
        order = self.standin.world.orders.get(str(fields.get("order_id")))
        if order is None:
            raise refusal("unknown_id")
        return order

    def fields(self) -> dict[str, Any]:
        """The form or JSON sent, whichever it is."""
        if self.request.headers.get("Content-Type", "").startswith("application/json"):
            return validation.parse_body(self.request.body, wording="new")
        return {name: self.get_argument(name) for name in self.request.arguments}


class PreferencesHandler(PublicHandler):
    """What the form shows: the order as it stands."""

    def get(self) -> None:
        try:
            self.answer(json_reply({"order": order_entity(self.order(self.fields()))}))
        except ApiError as error:
            self.answer(refused(error))


class PayHandler(PublicHandler):
    """
    One attempt to pay, as the form makes it. The test values decide how it goes.

    200 with the three fields of the handler; 400 with the `error` of `payment.failed`;
    200 with only the payment's id while the bank is silent. Not idempotent: each is an attempt.
    """

    def post(self) -> None:
        try:
            self.answer(self._pay(self.fields()))
        except ApiError as error:
            self.answer(refused(error))

    def _pay(self, fields: dict[str, Any]) -> Reply:
        order = self.order(fields)
        tender = _tender(fields)
        failure = methods.failure_of(tender.method, vpa=tender.vpa, card_number=tender.card_number)
        silent = tender.vpa == SILENT_VPA
        payment = checkout.pay(
            self.standin.world,
            order,
            tender,
            outcome="created" if silent else "failed" if failure else "paid",
            failure=failure,
        )
        if failure:
            return json_reply({"error": checkout.failure_fields(payment)}, status=400)
        if silent:
            return json_reply({"razorpay_payment_id": payment.id, "status": payment.status})
        key_secret = self.standin.settings.key_secret
        return json_reply(checkout.handler_fields(payment, key_secret=key_secret))


def _tender(fields: dict[str, Any]) -> Tender:
    method = fields.get("method", "upi")
    if method not in methods.METHODS:
        raise refusal("field_wrong", field="method")
    notes = {
        name[len("notes[") : -1]: value
        for name, value in fields.items()
        if name.startswith("notes[") and name.endswith("]")
    }
    return Tender(
        method=method,
        vpa=fields.get("vpa", ""),
        card_number=fields.get("card[number]", ""),
        email=fields.get("email") or NO_EMAIL,
        contact=fields.get("contact") or NO_CONTACT,
        notes=notes,
    )


class HostedHandler(PublicHandler):
    """The pay form as a page of its own, for redirects; the page posts to `callback_url`."""

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
