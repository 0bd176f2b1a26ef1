"""An index of the tables. Each is defined beside the functions that change it."""

from shop.accounts import User
from shop.carts import Cart, CartItem, SyncEvent
from shop.catalogue import Product, Variant
from shop.checkout.accept import IdempotencyKey
from shop.checkout.attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob, Move
from shop.checkout.trail import AuditEntry
from shop.heartbeats import Heartbeat
from shop.orders import Order, OrderLine
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.pressure import GatewayPressure
from shop.payments.refunds import Refund
from shop.payments.usage import GatewayMinute
from shop.retention import RetentionMark
from shop.stock import StockLevel

__all__ = [
    "AuditEntry",
    "Cart",
    "CartItem",
    "Case",
    "CheckoutJob",
    "FailedAttempt",
    "GatewayMinute",
    "GatewayOrder",
    "GatewayPressure",
    "Heartbeat",
    "IdempotencyKey",
    "InboxEvent",
    "Move",
    "Order",
    "OrderLine",
    "Payment",
    "Product",
    "Refund",
    "RetentionMark",
    "StockLevel",
    "SyncEvent",
    "User",
    "Variant",
]
