import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

application = get_wsgi_application()

from shop.web.request import Utf8Request  # noqa: E402 - Django is set up by now

application.request_class = Utf8Request

# Imported objects live as long as the process: exclude them from garbage collection.
gc.collect()
gc.freeze()
