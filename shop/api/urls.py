from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from shop.api import (
    accounts,
    carts,
    catalogue,
    checkouts,
    errors,
    orders,
    refunds,
    returns,
    webhooks,
)

urlpatterns = [
    path("auth/register/", accounts.Register.as_view()),
    path("auth/token/", accounts.SignIn.as_view()),
    path("auth/token/refresh/", accounts.Refresh.as_view()),
    path("auth/sign-out/", accounts.SignOut.as_view()),
    path("auth/guest/", accounts.Guest.as_view()),
    path("products/", catalogue.Products.as_view()),
    path("products/<int:pk>/", catalogue.ProductDetail.as_view()),
    path("cart/", carts.CartView.as_view()),
    path("cart/add/", carts.AddToCart.as_view()),
    path("cart/items/<int:item_id>/", carts.CartItemView.as_view()),
    path("cart/sync-events/", carts.SyncEvents.as_view()),
    path("payments/create-from-cart/", checkouts.Checkouts.as_view()),
    path("checkouts/", checkouts.Checkouts.as_view()),
    path("checkouts/<uuid:job_id>/", checkouts.Checkout.as_view(), name="checkout"),
    path("checkouts/<uuid:job_id>/cancel/", checkouts.Cancel.as_view()),
    path("checkouts/<uuid:job_id>/confirm/", returns.Confirm.as_view()),
    path("checkouts/<uuid:job_id>/callback/", returns.callback),
    path("orders/", orders.Orders.as_view()),
    path("orders/<slug:number>/", orders.OrderDetail.as_view()),
    path("orders/<slug:number>/refunds/", refunds.Refunds.as_view()),
    path("webhooks/razorpay/", webhooks.razorpay),
    path("schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema")),
    re_path("", errors.no_such_address),
]
