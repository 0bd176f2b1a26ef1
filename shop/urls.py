from django.contrib import admin
from django.urls import include, path

from shop import ops

urlpatterns = [
    path("api/", include("shop.api.urls")),
    path("health/live", ops.live),
    path("health/ready", ops.ready),
    path("admin/", admin.site.urls),
]

handler400 = "shop.api.errors.bad_request"
handler404 = "shop.api.errors.not_found"
handler500 = "shop.api.errors.server_error"
