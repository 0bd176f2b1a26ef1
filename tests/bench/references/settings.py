"""Settings of both reference shops; the variable `REFERENCE` selects one."""

import os

import environ  # type: ignore[import-untyped]

REFERENCE = os.environ["REFERENCE"]

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "rest_framework.authtoken",
    "tests.bench.references",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = f"tests.bench.references.{REFERENCE}"
DATABASES = {
    "default": {
        **environ.Env.db_url_config(os.environ["DATABASE_URL"]),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
}

CELERY_BROKER_URL = CELERY_RESULT_BACKEND = os.environ["CELERY_BROKER_URL"]
CELERY_RESULT_EXPIRES = 3600
# Tasks per database connection. 0: Celery's default, one connection for each task.
CELERY_DB_REUSE_MAX = int(os.environ.get("DB_REUSE_MAX", "0"))

GATEWAY_URL = os.environ["GATEWAY_URL"]
GATEWAY_TIMEOUT_SECONDS = 10
GATEWAY_WEBHOOK_SECRET = os.environ["GATEWAY_WEBHOOK_SECRET"]
