from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

from shop.admin import login
from shop.ops import health, metrics
from shop.ops import views as ops
from shop.web import pages

urlpatterns = [
    path("api/", include("shop.api.urls")),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics.view),
    path("admin/login/", login.view),
    path("admin/", admin.site.urls),
    path("ops/", ops.page, name="ops"),
    path("ops/data.json", ops.data, name="ops_data"),
    path("ops/session", ops.session),
    path("ops/<slug:name>.csv", ops.table, name="ops_table"),
    path("", pages.catalogue, name="catalogue"),
    path("products/<slug:slug>/", pages.product, name="product"),
    path("cart/", TemplateView.as_view(template_name="shop/cart.html"), name="cart"),
    path("checkout/", pages.checkout_form, name="checkout_form"),
    path("checkout/<uuid:checkout_id>", pages.checkout_status, name="checkout_status"),
    path("orders/", TemplateView.as_view(template_name="shop/orders.html"), name="orders"),
    path("orders/<str:number>/", pages.order, name="order"),
    path("sign-in/", TemplateView.as_view(template_name="shop/sign_in.html"), name="sign_in"),
]

handler400 = "shop.api.errors.bad_request"
handler404 = "shop.web.pages.not_found"
handler500 = "shop.api.errors.server_error"
