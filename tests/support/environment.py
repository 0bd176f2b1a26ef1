"""
A pytest plugin, loaded before Django's settings, that sets the environment of all tests.

Embedded Postgres and Redis run in a directory of their own, beside those of `make up`. With
pytest-xdist each worker has its own directory, so workers share no server, socket or file.
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

KEY_ID = "rzp_test_standin"
KEY_SECRET = "standin_secret"
WEBHOOK_SECRET = "standin_webhook_secret_0123456789"


def given_test_account() -> tuple[str, str] | None:
    """
    Key id and secret of a Razorpay account in test mode, if the environment has both.

    Only the contract suite uses them; other tests use those of the stand-in. Live keys are ignored.
    """
    key_id = os.environ.get("RAZORPAY_KEY_ID", "")
    key_secret = os.environ.get("RAZORPAY_KEY_SECRET", "")
    real = key_id.startswith("rzp_test_") and key_id not in {KEY_ID, "rzp_test_unset"}
    return (key_id, key_secret) if real and key_secret else None


TEST_ACCOUNT = given_test_account()


def pytest_report_header() -> str:
    return f"contract target: stand-in{' and Razorpay test mode' if TEST_ACCOUNT else ''}"


data_dir = Path(os.environ.get("TEST_DATA_DIR") or REPOSITORY / ".data" / "test")

os.environ |= {
    "DATA_DIR": str(data_dir / os.environ.get("PYTEST_XDIST_WORKER", "")),
    "DEBUG": "1",
    "SECRET_KEY": "a-secret-for-tests-only-0123456789abcdefghij",
    "RAZORPAY_KEY_ID": KEY_ID,
    "RAZORPAY_KEY_SECRET": KEY_SECRET,
    "RAZORPAY_WEBHOOK_SECRETS": f"{WEBHOOK_SECRET},old_webhook_secret_of_two_days_ago",
    "RAZORPAY_BASE_URL": "http://127.0.0.1:9",  # nothing listens there
    "LOG_LEVEL": "WARNING",
    "NO_PROXY": "127.0.0.1,localhost",
}
for name in ("ROLE", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "CELERY_BROKER_URL"):
    os.environ.pop(name, None)
