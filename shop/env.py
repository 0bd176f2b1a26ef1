"""Read typed values from the environment. A wrong one stops the start and names its variable."""

from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()


def env_int(name: str, default: int, *, at_least: int, at_most: int | None = None) -> int:
    given = env.str(name, default="") or str(default)
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


def env_url(name: str, default: str, *, schemes: tuple[str, ...] = ("https", "http")) -> str:
    value = env.str(name, default="") or default
    if urlsplit(value).scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL of {', '.join(schemes)}")
    return value


def env_bool(name: str, default: bool) -> bool:
    yes, no = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
    return env_choice(name, str(default).lower(), choices=yes + no) in yes
