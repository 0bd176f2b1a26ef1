"""An index of the tables. Each table is defined beside the functions that change it."""

from shop.accounts import User
from shop.cart_sync import SyncEvent
from shop.carts import Cart, CartItem
from shop.catalogue import Product, Variant
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.start import IdempotencyKey
from shop.operations.audit_log import AuditEntry
from shop.operations.retention import RetentionMark
from shop.orders import Order, OrderLine
from shop.payments.cases import Case
from shop.payments.circuit_breaker import CircuitBreaker
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund
from shop.stock import StockLevel
from shop.telemetry.heartbeats import Heartbeat

__all__ = [
    "AuditEntry",
    "Cart",
    "CartItem",
    "Case",
    "CheckoutJob",
    "CircuitBreaker",
    "FailedAttempt",
    "GatewayOrder",
    "Heartbeat",
    "IdempotencyKey",
    "InboxEvent",
    "Order",
    "OrderLine",
    "Payment",
    "Product",
    "Refund",
    "RetentionMark",
    "StockLevel",
    "SyncEvent",
    "Transition",
    "User",
    "Variant",
]
