from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_migrate


class ShopConfig(AppConfig):
    name = "shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from shop import accounts, roles
        from shop.telemetry import tracing  # models can be imported only now

        tracing.start()
        post_migrate.connect(roles.grant, sender=self)
        user_logged_out.connect(accounts.signed_out_of_admin)
