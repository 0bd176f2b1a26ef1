from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ShopConfig(AppConfig):
    name = "shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from shop import roles, tracing  # roles: its tables are there only now

        tracing.start()
        post_migrate.connect(roles.grant, sender=self)
