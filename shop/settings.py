"""
All settings, from the environment. A wrong or missing value stops the start and names itself.

The README has the table of variables.
"""

import logging
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from shop.addresses import OWNER, celery_broker_url, data_dir_of, postgres_url, redis_url
from shop.telemetry import logs, redaction

env = environ.Env()

RATE = re.compile("[0-9]{1,12}/(s|sec|m|min|h|hour|d|day)")

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = data_dir_of(env.ENVIRON)


def env_int(name: str, default: int, *, at_least: int, at_most: int | None = None) -> int:
    given = env.str(name, default=str(default))
    try:
        value = int(given)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={given!r}, must be a whole number") from None
    if value < at_least:
        raise ImproperlyConfigured(f"{name}={value}, must be at least {at_least}")
    if at_most is not None and value > at_most:
        raise ImproperlyConfigured(f"{name}={value}, must be at most {at_most}")
    return value


def env_choice(name: str, default: str, *, choices: tuple[str, ...]) -> str:
    value = env.str(name, default=default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name}={value!r}, must be one of {', '.join(choices)}")
    return value


def env_url(name: str, default: str, *, schemes: tuple[str, ...]) -> str:
    value = env.str(name, default="") or default
    if urlsplit(value).scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL of {', '.join(schemes)}")
    return value


def env_rate(name: str, default: str) -> str:
    value = env.str(name, default=default)
    if not RATE.fullmatch(value):
        raise ImproperlyConfigured(f"{name}={value!r}, must be a number per s, min, hour or day")
    return value


def env_bool(name: str, default: bool) -> bool:
    yes, no = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
    return env_choice(name, str(default).lower(), choices=yes + no) in yes


# Which process this is. It decides how connections to Postgres and Redis behave.
ROLE = env_choice("ROLE", "web", choices=("web", "worker", "sweeper", "flower"))

DEBUG = env_bool("DEBUG", False)

MIN_SECRET_BYTES = 32  # of what signs: as many as HMAC-SHA256 makes


def refuse_short(name: str, *secrets: str) -> None:
    """In a shop for real; on a machine of one's own any secret will do."""
    if not DEBUG and any(len(secret.encode()) < MIN_SECRET_BYTES for secret in secrets):
        raise ImproperlyConfigured(f"{name} must be at least {MIN_SECRET_BYTES} bytes long")


DEFAULT_SECRET_KEY = "not-a-secret-for-development-only-0123456789"
SECRET_KEY = env.str("SECRET_KEY", default=DEFAULT_SECRET_KEY)
if SECRET_KEY == DEFAULT_SECRET_KEY and not DEBUG:
    raise ImproperlyConfigured("SECRET_KEY must be set (or DEBUG=1, on a machine of your own)")
refuse_short("SECRET_KEY", SECRET_KEY)
# Tokens are signed with a key of their own: one that leaked opens no session of the admin, and
# either can be changed alone.
TOKEN_KEY = (
    env.str("TOKEN_KEY", default="")
    or salted_hmac("tokens", "", secret=SECRET_KEY, algorithm="sha256").hexdigest()
)
refuse_short("TOKEN_KEY", TOKEN_KEY)

PUBLIC_URL = env_url(
    "PUBLIC_URL",
    f"http://127.0.0.1:{env_int('PORT', 8000, at_least=0)}",
    schemes=("http", "https"),
).rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[]) or (
    ["*"] if DEBUG else [urlsplit(PUBLIC_URL).hostname or ""]
)
ALLOWED_HOSTS += env.list("INTERNAL_HOSTS", default=[])  # names that neighbours call us by
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

# --- what runs ---------------------------------------------------------------------------------

INSTALLED_APPS = [
    "shop",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "shop.telemetry.request_log.RequestLog",
    "shop.web.content_policy.ContentSecurityPolicy",
    "django.middleware.security.SecurityMiddleware",
    "shop.api.limits.RefuseLargeBodies",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "shop.web.page_middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "shop.web.page_middleware.AuthenticationMiddleware",
    "shop.web.page_middleware.MessageMiddleware",
    "shop.api.errors.Unavailable",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
AUTH_USER_MODEL = "shop.User"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
LANGUAGE_CODE = "en-in"
TIME_ZONE = "Asia/Kolkata"
FORMAT_MODULE_PATH = "shop.formats"
USE_TZ = True
STATIC_URL = "static/"
# While developing, files are served from where they lie; else `collectstatic` gathers them here.
STATIC_ROOT = None if DEBUG else env.str("STATIC_ROOT", default=str(DATA_DIR / "static"))
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = False

# --- Postgres ----------------------------------------------------------------------------------

# Our own transactions hold a row for milliseconds. One that is held for longer was left open by
# somebody: a web thread answers 503 then, and a worker goes on with what does not need the row.
LOCK_TIMEOUT_MS = 3000 if ROLE == "web" else 1000
# Each thread keeps its connection, in workers too: connecting was half of a task's cost.
DATABASE_URL = env_url("DATABASE_URL", postgres_url(DATA_DIR), schemes=("postgres", "postgresql"))
# What `migrate` connects as: the processes of the shop own no table.
DATABASE_OWNER_URL = env_url(
    "DATABASE_OWNER_URL",
    env.str("DATABASE_URL", default="") or postgres_url(DATA_DIR, role=OWNER),
    schemes=("postgres", "postgresql"),
)
DATABASES = {
    "default": {
        **environ.Env.db_url_config(DATABASE_URL),
        "ENGINE": "shop.db.backend",
        "CONN_MAX_AGE": None if ROLE == "worker" else 60,
        "CONN_HEALTH_CHECKS": True,
    }
}
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["OPTIONS"] |= {
    # In milliseconds: no statement and no lock may hold up a buyer for longer than they wait.
    "options": f"-c statement_timeout=15000 -c lock_timeout={LOCK_TIMEOUT_MS}"
    " -c idle_in_transaction_session_timeout=30000",
    "connect_timeout": 3,
    # Statements come again and again: each connection prepares what it has sent three times, which
    # halves what Postgres spends on them. PgBouncer keeps up with that from 1.22 on, if
    # max_prepared_statements is set: after a rollback psycopg sends DEALLOCATE ALL.
    "server_side_binding": True,
    "prepare_threshold": 3,
}
# Planned once: Postgres would plan anew for each array, taking its length for news. And the rows of
# a batch are looked up one by one: Postgres, which takes any JSON for a hundred rows, would read
# tables of some thousand whole to join them.
PLANS_OF_WORKERS = (
    " -c plan_cache_mode=force_generic_plan"
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)
if ROLE == "worker":
    DATABASES["default"]["OPTIONS"]["options"] += PLANS_OF_WORKERS
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis and Celery --------------------------------------------------------------------------

REDIS_URL = env_url("REDIS_URL", redis_url(DATA_DIR), schemes=("redis", "rediss", "unix"))
# A doorbell must not make a buyer wait: what cannot be said to Redis in this time is left unsaid.
REDIS_TIMEOUT_SECONDS = 0.2
REDIS_AVOIDED_SECONDS = 5  # after it failed, before it is tried again

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="") or celery_broker_url(REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True  # results live in Postgres
CELERY_DB_REUSE_MAX = 10**9  # tasks on one connection: Celery would close it around each
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_CREATE_MISSING_QUEUES = False  # a slip in a queue's name would make one nobody reads
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 1
CELERY_TIMEZONE = "UTC"
# Longer than any task runs; the same for all who use the broker, or the shortest wins.
VISIBILITY_TIMEOUT_SECONDS = 600
if ROLE in {"web", "sweeper"}:
    # Celery would wait four seconds for a RabbitMQ that accepts connections and does not answer.
    CELERY_BROKER_CONNECTION_TIMEOUT = REDIS_TIMEOUT_SECONDS
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "read_timeout": REDIS_TIMEOUT_SECONDS,  # RabbitMQ's names, which Redis ignores
        "write_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        "max_retries": 0,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "priority_steps": [0],
    }
else:
    # Without timeouts a worker whose connection dies silently never recovers; with these it took
    # 20 seconds. Several threads publish and acknowledge at once, so the pool must be larger.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_timeout": 10,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "max_connections": 64,
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "priority_steps": [0],
    }

# Where operations find Flower: the admin's links to the tasks of a checkout.
FLOWER_URL = env_url(
    "FLOWER_URL",
    f"http://127.0.0.1:{env_int('FLOWER_PORT', 5555, at_least=0)}",
    schemes=("http", "https"),
).rstrip("/")

# --- Razorpay ----------------------------------------------------------------------------------

RAZORPAY_KEY_ID = env.str("RAZORPAY_KEY_ID", default="rzp_test_unset")
RAZORPAY_KEY_SECRET = env.str("RAZORPAY_KEY_SECRET", default="unset")
RAZORPAY_WEBHOOK_SECRETS = [
    secret for secret in env.list("RAZORPAY_WEBHOOK_SECRETS", default=["unset"]) if secret
]
RAZORPAY_BASE_URL = env_url(
    "RAZORPAY_BASE_URL", "https://api.razorpay.com", schemes=("https", "http")
)
# The script of the payment form, as a browser reaches it.
RAZORPAY_CHECKOUT_JS = env_url(
    "RAZORPAY_CHECKOUT_JS",
    "https://checkout.razorpay.com/v1/checkout.js"
    if RAZORPAY_BASE_URL == "https://api.razorpay.com"
    else f"{RAZORPAY_BASE_URL}/v1/checkout.js",
    schemes=("https", "http"),
)
RAZORPAY_CAPTURE = env_choice("RAZORPAY_CAPTURE", "automatic", choices=("automatic", "manual"))
# What money buys that comes after its checkout ended: the goods if they are there, or itself.
LATE_PAYMENT = env_choice("LATE_PAYMENT", "fulfil", choices=("fulfil", "refund"))
if DEBUG and RAZORPAY_KEY_ID.startswith("rzp_live_"):
    raise ImproperlyConfigured("RAZORPAY_KEY_ID is a live key and DEBUG is on: refusing to start")
if not DEBUG:
    for name, value in (
        ("RAZORPAY_KEY_ID", RAZORPAY_KEY_ID.removeprefix("rzp_test_")),
        ("RAZORPAY_KEY_SECRET", RAZORPAY_KEY_SECRET),
        ("RAZORPAY_WEBHOOK_SECRETS", ",".join(RAZORPAY_WEBHOOK_SECRETS)),
    ):
        if value in {"", "unset"}:
            raise ImproperlyConfigured(f"{name} must be set")
refuse_short("RAZORPAY_WEBHOOK_SECRETS", *RAZORPAY_WEBHOOK_SECRETS)

# --- the pipeline ------------------------------------------------------------------------------

# Times are in seconds. Each must outlast the one before it: a gateway call ends before its claim
# lapses (a claim covers two calls, look-up and create), and a claim before the buyer's hold.
GATEWAY_TIMEOUT_SECONDS = env_int("GATEWAY_TIMEOUT_SECONDS", 10, at_least=1)
CLAIM_SECONDS = env_int("CLAIM_SECONDS", 60, at_least=GATEWAY_TIMEOUT_SECONDS * 3)
HOLD_SECONDS = env_int("HOLD_SECONDS", 15 * 60, at_least=CLAIM_SECONDS * 2)
# Razorpay's list of orders showed a new one after 8 seconds; an empty list means "none" after this.
RECEIPT_LAG_SECONDS = env_int("RECEIPT_LAG_SECONDS", 60, at_least=0)
SWEEP_SECONDS = env_int("SWEEP_SECONDS", 1, at_least=1)

BATCH_SIZE = env_int("BATCH_SIZE", 100, at_least=1)  # rows a local step takes in one transaction
# Razorpay publishes no limit; a 429 slows all workers down together, whatever stands here.
GATEWAY_REQUESTS_PER_SECOND = env_int("GATEWAY_REQUESTS_PER_SECOND", 500, at_least=1)
GATEWAY_BATCH_SIZE = env_int("GATEWAY_BATCH_SIZE", 64, at_least=1)  # calls of one task, all at once
GATEWAY_CONCURRENCY = env_int("GATEWAY_CONCURRENCY", 128, at_least=1)  # calls at once, per process

# --- units held unpaid ---------------------------------------------------------------------------

# See shop/checkout/holds.py, and docs/decisions/holds.md for the reasons.
HELD_UNITS_PER_BUYER = env_int("HELD_UNITS_PER_BUYER", 200, at_least=1)
HELD_UNITS_PER_ADDRESS = env_int("HELD_UNITS_PER_ADDRESS", 300, at_least=HELD_UNITS_PER_BUYER)
HELD_PERCENT_PER_ADDRESS = env_int("HELD_PERCENT_PER_ADDRESS", 50, at_least=1, at_most=100)
HELD_PERCENT_BY_GUESTS = env_int("HELD_PERCENT_BY_GUESTS", 80, at_least=1, at_most=100)
HELD_UNITS_FLOOR = env_int("HELD_UNITS_FLOOR", 10, at_least=1)

# --- how long what is kept -----------------------------------------------------------------------

# In days; see shop/operations/retention.py. Rows with money are kept for ever, whatever is set.
KEEP_WEBHOOK_BODIES_DAYS = env_int("KEEP_WEBHOOK_BODIES_DAYS", 90, at_least=1)
KEEP_MOVES_DAYS = env_int("KEEP_MOVES_DAYS", 180, at_least=7)  # late money comes within five days
KEEP_KEYS_DAYS = env_int("KEEP_KEYS_DAYS", 30, at_least=1)
KEEP_SYNC_EVENTS_DAYS = env_int("KEEP_SYNC_EVENTS_DAYS", 30, at_least=1)
KEEP_SESSIONS_DAYS = 0  # after they ended

# --- the API -----------------------------------------------------------------------------------

MAX_BODY_BYTES = 64 * 1024
MAX_WEBHOOK_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_WEBHOOK_BYTES
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "socket_timeout": REDIS_TIMEOUT_SECONDS,
            "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        },
    }
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["shop.api.auth.BearerToken"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["shop.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["shop.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 24,
    "EXCEPTION_HANDLER": "shop.api.errors.answer",
    "UNAUTHENTICATED_USER": None,
    "NUM_PROXIES": env_int("TRUSTED_PROXIES", 0, at_least=0),
    # Generous for people, tight for programs that guess; see shop/api/limits.py.
    "DEFAULT_THROTTLE_RATES": {
        "sign_in": env_rate("THROTTLE_SIGN_IN", "30/min"),
        "guesses": env_rate("THROTTLE_GUESSES", "20/hour"),  # wrong passwords of one account
        "refresh": env_rate("THROTTLE_REFRESH", "120/min"),
        "guest": env_rate("THROTTLE_GUEST", "60/min"),
        "cart": env_rate("THROTTLE_CART", "240/min"),
        "checkout": env_rate("THROTTLE_CHECKOUT", "60/min"),
        "confirm": env_rate("THROTTLE_CONFIRM", "60/min"),
        "sync_events": env_rate("THROTTLE_SYNC_EVENTS", "30/min"),
        "docs": env_rate("THROTTLE_DOCS", "60/min"),  # and the schema
        "refund": env_rate("THROTTLE_REFUND", "30/min"),
    },
}
# Mobile networks let thousands share an address; few of them change their carts at one time.
CALLERS_PER_ADDRESS = env_int("CALLERS_PER_ADDRESS", 20, at_least=1)
REFRESH_TOKEN_SECONDS = env_int("REFRESH_TOKEN_SECONDS", 14 * 24 * 60 * 60, at_least=3600)
# A guest is their tokens: they must have run out before the guest is forgotten.
KEEP_GUESTS_DAYS = env_int("KEEP_GUESTS_DAYS", 30, at_least=REFRESH_TOKEN_SECONDS // 86_400 + 1)
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(
        seconds=env_int("ACCESS_TOKEN_SECONDS", 60 * 60, at_least=60)
    ),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=REFRESH_TOKEN_SECONDS),
    "USER_ID_CLAIM": "user_id",
    "SIGNING_KEY": TOKEN_KEY,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Pakka",
    "DESCRIPTION": "A checkout that takes a cart to a paid order, once.",
    "VERSION": "1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/",
    "COMPONENT_SPLIT_REQUEST": True,  # what is asked for differs from what is answered
    "COMPONENT_SPLIT_PATCH": False,  # a PATCH of ours needs its fields, as a POST does
    "ENUM_NAME_OVERRIDES": {
        "BuyerStatusEnum": "shop.api.checkout_status.BUYER_STATUSES",
        "StepEnum": "shop.api.checkout_status.STEP_NAMES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "shop.api.openapi.complete",
    ],
}

# --- transport and logs ------------------------------------------------------------------------

# Without a proxy of ours this header is the caller's own word.
TRUSTED_PROXIES = REST_FRAMEWORK["NUM_PROXIES"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"  # where a sign-in leads without a `next` of ours
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 60 * 60  # a day's work: only staff have sessions
SECURE_HSTS_SECONDS = 0 if DEBUG else 31_536_000
SECURE_SSL_REDIRECT = False  # the proxy's business: health checks and webhooks come in plain
SILENCED_SYSTEM_CHECKS = [
    "security.W008",  # no redirect to https: see above
    "security.W005",  # HSTS for other hosts below ours,
    "security.W021",  # or in browsers' own lists: for whoever has the whole domain to decide
]

LOG_LEVEL = env_choice(
    "LOG_LEVEL", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
)
LOGGING = logs.config(LOG_LEVEL)
logging.captureWarnings(capture=True)

# --- what is watched ---------------------------------------------------------------------------

# Without a token /metrics answers nobody, but on a developer's machine.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_DIR = env.str("METRICS_DIR", default="") or str(DATA_DIR / "metrics")
# Where a worker shows what it counts, for those that share no directory with a web process.
METRICS_PORT = env_int("METRICS_PORT", 0, at_least=0)
CANARY_SECONDS = env_int("CANARY_SECONDS", 60, at_least=1)  # a task goes through every queue

# What must not be read in any log, whoever writes it there.
redaction.learn(
    [
        SECRET_KEY,
        TOKEN_KEY,
        RAZORPAY_KEY_SECRET,
        *RAZORPAY_WEBHOOK_SECRETS,
        METRICS_TOKEN,
        env.str("FLOWER_BASIC_AUTH", default="").partition(":")[2],
        env.str("ADMIN_PASSWORD", default=""),
        *(
            urlsplit(url).password or ""
            for url in (DATABASE_URL, DATABASE_OWNER_URL, REDIS_URL, CELERY_BROKER_URL)
        ),
    ]
)
