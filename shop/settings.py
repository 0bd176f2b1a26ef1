"""
All settings. What a shop changes comes from the environment (docs/settings.md lists it); the rest
is constant here. A wrong or missing value stops the start and names itself.

Tests that start processes change constants through tests/settings.py.
"""

import logging
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from shop import __version__
from shop.addresses import OWNER, celery_broker_url, data_dir_of, postgres_url, redis_url
from shop.env import env, env_bool, env_choice, env_int, env_url
from shop.telemetry import logs, redaction

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = data_dir_of(env.ENVIRON)

# --- process, secrets, addresses -----------------------------------------------------------------

# Which process this is; the Procfile sets it. Connections to Postgres and Redis depend on it.
ROLE = env_choice("ROLE", "web", choices=("web", "worker", "sweeper", "flower"))

DEBUG = env_bool("DEBUG", False)

MIN_SECRET_BYTES = 32  # of a signing key: the output of HMAC-SHA256 has as many


def refuse_short(name: str, *secrets: str) -> None:
    """Stop the start if a secret is too short. With `DEBUG`, any length will do."""
    if not DEBUG and any(len(secret.encode()) < MIN_SECRET_BYTES for secret in secrets):
        raise ImproperlyConfigured(f"{name} must be at least {MIN_SECRET_BYTES} bytes long")


DEFAULT_SECRET_KEY = "not-a-secret-for-development-only-0123456789"
SECRET_KEY = env.str("SECRET_KEY", default=DEFAULT_SECRET_KEY)
if SECRET_KEY == DEFAULT_SECRET_KEY and not DEBUG:
    raise ImproperlyConfigured("SECRET_KEY must be set (or DEBUG=1, on your own machine)")
refuse_short("SECRET_KEY", SECRET_KEY)
# Tokens have a key of their own: a leaked TOKEN_KEY opens no admin session, and each key can be
# rotated alone.
TOKEN_KEY = (
    env.str("TOKEN_KEY", default="")
    or salted_hmac("tokens", "", secret=SECRET_KEY, algorithm="sha256").hexdigest()
)
refuse_short("TOKEN_KEY", TOKEN_KEY)

_port = env_int("PORT", 8000, at_least=0)
PUBLIC_URL = env_url("PUBLIC_URL", f"http://127.0.0.1:{_port}").rstrip("/")
PUBLIC_HOST = urlsplit(PUBLIC_URL).hostname or ""
ALLOWED_HOSTS = [PUBLIC_HOST, *(env.list("ALLOWED_HOSTS", default=[]) or (["*"] if DEBUG else []))]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

# --- Django --------------------------------------------------------------------------------------

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
    "shop.web.body_limits.RefuseLargeBodies",
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
# With DEBUG, static files are served from the source tree; without, from where `collectstatic`
# copied them. The image sets STATIC_ROOT.
STATIC_ROOT = None if DEBUG else env.str("STATIC_ROOT", default=str(DATA_DIR / "static"))
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = False

# --- Postgres ------------------------------------------------------------------------------------

# Our own transactions hold a row lock for milliseconds. A lock held for longer belongs to a
# transaction that was left open: a web thread answers 503, a worker continues with other rows.
LOCK_TIMEOUT_MS = 3000 if ROLE == "web" else 1000
# Each thread keeps its connection, in workers too: connecting was half of the cost of a task.
DATABASE_URL = env_url("DATABASE_URL", postgres_url(DATA_DIR), schemes=("postgres", "postgresql"))
# `migrate` connects as the owner of the tables; the processes connect as a role that owns none.
DATABASE_OWNER_URL = env_url(
    "DATABASE_OWNER_URL",
    env.str("DATABASE_URL", default="") or postgres_url(DATA_DIR, role=OWNER),
    schemes=("postgres", "postgresql"),
)
# Workers force index look-ups: Postgres estimates a hundred rows for any JSON batch, so it would
# read a table of a few thousand rows whole to join a batch of three. The generic plan saves
# planning for each batch size. docs/decisions/speed.md begins with the figures.
PLANS_OF_WORKERS = (
    " -c plan_cache_mode=force_generic_plan"
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)
_database = env.db_url_config(DATABASE_URL)
DATABASES = {
    "default": {
        **_database,
        "ENGINE": "shop.db.backend",
        "CONN_MAX_AGE": None if ROLE == "worker" else 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),
            # Milliseconds: no statement and no lock may outlast the patience of a buyer.
            "options": f"-c statement_timeout=15000 -c lock_timeout={LOCK_TIMEOUT_MS}"
            " -c idle_in_transaction_session_timeout=30000"
            + (PLANS_OF_WORKERS if ROLE == "worker" else ""),
            "connect_timeout": 3,
            # Each connection prepares a statement that it has sent three times: this halves the CPU
            # time of Postgres. PgBouncer supports it from 1.22 on, with max_prepared_statements
            # set: after a rollback psycopg sends DEALLOCATE ALL.
            "server_side_binding": True,
            "prepare_threshold": 3,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis and Celery ----------------------------------------------------------------------------

REDIS_URL = env_url("REDIS_URL", redis_url(DATA_DIR), schemes=("redis", "rediss", "unix"))
# A notification must not make a buyer wait: it is dropped after this time; the sweeper replaces it.
REDIS_TIMEOUT_SECONDS = 0.2
REDIS_TIMEOUTS = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), REDIS_TIMEOUT_SECONDS)
REDIS_AVOIDED_SECONDS = 5  # after a failure, before the next attempt

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="") or celery_broker_url(REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True  # results live in Postgres
CELERY_DB_REUSE_MAX = 10**9  # tasks per connection: by default Celery closes it after each task
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_CREATE_MISSING_QUEUES = False  # a misspelt queue would be one that nobody reads
NO_RETRIES = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
CELERY_TASK_PUBLISH_RETRY_POLICY = NO_RETRIES
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 1
CELERY_TIMEZONE = "UTC"
# The visibility timeout is longer than any task runs, and the same in all processes: the shortest
# would win.
BROKER = {"visibility_timeout": 600, "priority_steps": [0]}
if ROLE in {"web", "sweeper"}:
    # Celery's default is to wait four seconds for a RabbitMQ that accepts connections and hangs.
    CELERY_BROKER_CONNECTION_TIMEOUT = REDIS_TIMEOUT_SECONDS
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "read_timeout": REDIS_TIMEOUT_SECONDS,  # RabbitMQ's names, which Redis ignores
        "write_timeout": REDIS_TIMEOUT_SECONDS,
        **REDIS_TIMEOUTS,
        **NO_RETRIES,
        **BROKER,
    }
else:
    # Without timeouts a worker whose connection dies silently never recovers; with these it took
    # 20 seconds. Several threads publish and acknowledge at once, hence the larger pool.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_timeout": 10,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "max_connections": 64,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        **BROKER,
    }

# The admin links to the tasks of a checkout in Flower.
_port = env_int("FLOWER_PORT", 5555, at_least=0)
FLOWER_URL = env_url("FLOWER_URL", f"http://127.0.0.1:{_port}").rstrip("/")

# --- Razorpay ------------------------------------------------------------------------------------

RAZORPAY_KEY_ID = env.str("RAZORPAY_KEY_ID", default="rzp_test_unset")
RAZORPAY_KEY_SECRET = env.str("RAZORPAY_KEY_SECRET", default="unset")
RAZORPAY_WEBHOOK_SECRETS = [
    secret for secret in env.list("RAZORPAY_WEBHOOK_SECRETS", default=["unset"]) if secret
]
RAZORPAY_API = "https://api.razorpay.com"
RAZORPAY_BASE_URL = env_url("RAZORPAY_BASE_URL", RAZORPAY_API)
# The script of the payment form: Razorpay's own, unless the API is a stand-in. Browsers find that
# at its loopback address, or beside the shop if only containers know its name.
if RAZORPAY_BASE_URL == RAZORPAY_API or RAZORPAY_KEY_ID.startswith("rzp_live_"):
    RAZORPAY_CHECKOUT_JS = "https://checkout.razorpay.com/v1/checkout.js"
elif urlsplit(RAZORPAY_BASE_URL).hostname in {"127.0.0.1", "::1", "localhost"}:
    RAZORPAY_CHECKOUT_JS = f"{RAZORPAY_BASE_URL}/v1/checkout.js"
else:
    _standin_port = env_int("STANDIN_PORT", 8010, at_least=1)
    RAZORPAY_CHECKOUT_JS = f"http://{PUBLIC_HOST}:{_standin_port}/v1/checkout.js"
RAZORPAY_CAPTURE = env_choice("RAZORPAY_CAPTURE", "automatic", choices=("automatic", "manual"))
# Money that arrives after its checkout ended: fulfil the order if stock is free, or refund.
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

# --- the pipeline --------------------------------------------------------------------------------

# Times are in seconds. Each must outlast the one before it: a gateway call ends before its claim
# lapses (one claim covers a look-up and a create call), and a claim before the buyer's hold.
GATEWAY_TIMEOUT_SECONDS = env_int("GATEWAY_TIMEOUT_SECONDS", 10, at_least=1)
CLAIM_SECONDS = max(60, 6 * GATEWAY_TIMEOUT_SECONDS)
HOLD_SECONDS = env_int("HOLD_SECONDS", 15 * 60, at_least=CLAIM_SECONDS * 2)
# Razorpay's list of orders showed a new one after 8 s. An empty list proves "none" after this time.
RECEIPT_LAG_SECONDS = 60
SWEEP_SECONDS = 1

BATCH_SIZE = 100  # rows that a local step takes in one transaction
# Razorpay publishes no limit. A 429 slows all workers down together, whatever this value is.
GATEWAY_REQUESTS_PER_SECOND = env_int("GATEWAY_REQUESTS_PER_SECOND", 500, at_least=1)
GATEWAY_BATCH_SIZE = 64  # concurrent calls of one task
# Concurrent calls of one process.
GATEWAY_CONCURRENCY = env_int("GATEWAY_THREADS", 2, at_least=1) * GATEWAY_BATCH_SIZE

# --- units held unpaid ---------------------------------------------------------------------------

# docs/decisions/holds.md gives the reasons.
HELD_UNITS_PER_BUYER = env_int("HELD_UNITS_PER_BUYER", 200, at_least=1)
HELD_UNITS_PER_ADDRESS = env_int("HELD_UNITS_PER_ADDRESS", 300, at_least=HELD_UNITS_PER_BUYER)
HELD_PERCENT_PER_ADDRESS = env_int("HELD_PERCENT_PER_ADDRESS", 50, at_least=1, at_most=100)
HELD_PERCENT_BY_GUESTS = env_int("HELD_PERCENT_BY_GUESTS", 80, at_least=1, at_most=100)
HELD_UNITS_FLOOR = 10  # a percentage never means fewer units than this

# --- accounts and retention ----------------------------------------------------------------------

REFRESH_TOKEN_DAYS = 14
# Days; shop/operations/retention.py has the rules. Rows with money are kept for ever.
KEEP_PERSONAL_DATA_DAYS = env_int("KEEP_PERSONAL_DATA_DAYS", 90, at_least=REFRESH_TOKEN_DAYS + 1)
KEEP_GUESTS_DAYS = min(30, KEEP_PERSONAL_DATA_DAYS)  # longer than a guest's tokens live
KEEP_TRANSITIONS_DAYS = 180  # of checkouts that ended unpaid; late money comes within five days
KEEP_KEYS_DAYS = 30  # idempotency keys
KEEP_SYNC_EVENTS_DAYS = 30
KEEP_SESSIONS_DAYS = 0  # after they ended

# --- the API -------------------------------------------------------------------------------------

MAX_BODY_BYTES = 64 * 1024
MAX_WEBHOOK_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_WEBHOOK_BYTES
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{kind}Validator"}
    for kind in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": REDIS_TIMEOUTS,
    }
}
# Proxies in front of the web processes. With 0, X-Forwarded-For and X-Forwarded-Proto are ignored:
# any caller can send them.
TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 0, at_least=0)
# Limits for one caller: generous for people, tight for password guessing (shop/api/throttling.py).
THROTTLE_RATES = {
    "sign_in": "30/min",
    "guesses": "20/hour",  # wrong passwords of one account
    "refresh": "120/min",
    "guest": "60/min",
    "cart": "240/min",
    "checkout": "60/min",
    "confirm": "60/min",
    "sync_events": "30/min",
    "docs": "60/min",  # and the schema
    "refund": "30/min",
}
# One address may send this many times as much: thousands of mobile buyers can share an address, and
# few of them change their carts at the same time.
CALLERS_PER_ADDRESS = 20
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["shop.api.auth.BearerToken"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["shop.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["shop.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 24,
    "EXCEPTION_HANDLER": "shop.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "NUM_PROXIES": TRUSTED_PROXIES,
    "DEFAULT_THROTTLE_RATES": THROTTLE_RATES,
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(hours=1),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=REFRESH_TOKEN_DAYS),
    "USER_ID_CLAIM": "user_id",
    "SIGNING_KEY": TOKEN_KEY,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Pakka",
    "DESCRIPTION": "A checkout that takes a cart to a paid order, once.",
    "VERSION": __version__,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/",
    "COMPONENT_SPLIT_REQUEST": True,  # requests and responses have different fields
    "COMPONENT_SPLIT_PATCH": False,  # our PATCH requires its fields, as a POST does
    "ENUM_NAME_OVERRIDES": {
        "BuyerStatusEnum": "shop.api.checkout_status.BUYER_STATUSES",
        "StepEnum": "shop.api.checkout_status.STEP_NAMES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "shop.api.openapi.complete",
    ],
}

# --- https, sessions, logs -----------------------------------------------------------------------

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"  # after a sign-in without a valid `next`
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 60 * 60  # a working day: only staff have sessions
SECURE_HSTS_SECONDS = 0 if DEBUG else 31_536_000
SECURE_SSL_REDIRECT = False  # the proxy redirects: health checks and webhooks arrive as plain HTTP
SILENCED_SYSTEM_CHECKS = [
    "security.W008",  # no redirect to https: see above
    "security.W005",  # HSTS for subdomains and
    "security.W021",  # browsers' preload lists: the owner of the whole domain decides
]

_levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_LEVEL = env_choice("LOG_LEVEL", "INFO", choices=_levels)
LOGGING = logs.config(LOG_LEVEL)
logging.captureWarnings(capture=True)

# --- metrics -------------------------------------------------------------------------------------

# Without a token, /metrics answers only with DEBUG.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
# The processes of one machine add up their counts here. The image sets it: its containers share no
# directory, so workers and the sweeper serve their own counts on METRICS_PORT.
METRICS_DIR = env.str("METRICS_DIR", default="") or str(DATA_DIR / "metrics")
METRICS_PORT = env_int("METRICS_PORT", 0, at_least=0)
CANARY_SECONDS = 60  # between two canary tasks through each queue; the alert waits for three

# No log line shows these values, whichever library writes it.
_secrets = [SECRET_KEY, TOKEN_KEY, METRICS_TOKEN, RAZORPAY_KEY_SECRET, *RAZORPAY_WEBHOOK_SECRETS]
_secrets += [env.str("ADMIN_PASSWORD", default="")]
_secrets += [env.str("FLOWER_BASIC_AUTH", default="").partition(":")[2]]
for url in (DATABASE_URL, DATABASE_OWNER_URL, REDIS_URL, CELERY_BROKER_URL):
    _secrets += [urlsplit(url).password or ""]
redaction.learn(_secrets)
