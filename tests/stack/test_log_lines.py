"""Each line that a process of the shop writes, from start to stop, is one JSON object."""

from __future__ import annotations

import json

import pytest

from tests.support.buyers import until
from tests.support.process_settings import UNSET, changed
from tests.support.running_shop import MUG, RunningShop
from workers import procfile
from workers.stack.environment import STANDIN
from workers.stack.stack import Stack

NAMES = [*procfile.commands(), STANDIN]
SECRETS = ("RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRETS")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The lines of each process during its start, one sale, and its stop."""
    environ = (
        UNSET
        | dict.fromkeys(SECRETS, "")
        | changed(CANARY_SECONDS=1)
        | {
            "DEBUG": "0",
            "PYTHONWARNINGS": "always",
        }
    )
    setup = [("migrate", "--noinput")]
    data_dir = tmp_path_factory.mktemp("logs")
    with Stack(data_dir, environ) as stack, RunningShop(stack) as running_shop:
        [buyer] = running_shop.arrive(1, sku=MUG)
        checkout = buyer.wait(buyer.post(), "awaiting_payment")
        running_shop.pay(checkout)
        buyer.wait(checkout, "paid")
        until(lambda: "canary" in stack.logs("gateway"))
    with Stack(data_dir, environ, processes=[], setup=setup) as again:
        names = [*NAMES, "setup"]
        return {name: again.logs(name).splitlines() for name in names}


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_process_is_json(logs: dict[str, list[str]], name: str):
    assert logs[name]
    for line in logs[name]:
        assert line.startswith("{"), line
        fields = json.loads(line)
        assert {"event", "level", "logger"} <= set(fields), line


def test_the_last_message_of_a_worker_is_json_too(logs: dict[str, list[str]]):
    events = [json.loads(line)["event"] for line in logs["worker"]]

    assert "worker: Warm shutdown (MainProcess)" in events


def test_the_output_of_migrate_is_in_the_log(logs: dict[str, list[str]]):
    """`seed` writes plain text, because people call it."""
    lines = [json.loads(line) for line in logs["setup"] if line.startswith("{")]

    done = [line["event"] for line in lines if line["logger"] == "migrate"]
    assert "Applying shop.0001_tables... OK" in done
    assert "No migrations to apply." in done
    assert not [line for line in logs["setup"] if "Applying" in line and not line.startswith("{")]
