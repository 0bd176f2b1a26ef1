import socket
from pathlib import Path

import pytest

from workers.stack import environment
from workers.stack.server import ServiceError

SILENT = lambda _line: None  # noqa: E731


def test_secrets_are_made_once_and_readable_by_their_owner_only(tmp_path: Path):
    first = environment.kept_secrets(tmp_path)

    assert environment.kept_secrets(tmp_path) == first
    assert environment.kept_secrets(tmp_path / "other") != first
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_new_is_added_to_those_that_are_kept(tmp_path: Path):
    first = environment.kept_secrets(tmp_path)
    kept = tmp_path / "secrets.env"
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(line for line in lines if not line.startswith("ADMIN_PASSWORD=")))

    second = environment.kept_secrets(tmp_path)

    assert second["ADMIN_PASSWORD"] != first["ADMIN_PASSWORD"]
    assert second["SECRET_KEY"] == first["SECRET_KEY"]


def test_values_of_the_user_are_kept(tmp_path: Path):
    given = {"SECRET_KEY": "mine", "PORT": "9000", "DEBUG": "0", "FLOWER_BASIC_AUTH": "me:mine"}

    assert given.items() <= environment.complete(given, data_dir=tmp_path).items()


def test_an_empty_value_counts_as_unset(tmp_path: Path):
    completed = environment.complete({"PORT": "", "SECRET_KEY": ""}, data_dir=tmp_path)

    assert completed["PORT"] == "8000"
    assert len(completed["SECRET_KEY"]) > 50


def test_the_stand_in_and_the_shop_get_each_others_address_and_the_same_secrets(tmp_path: Path):
    given = {"PORT": "8123", "STANDIN_PORT": "8456"}

    completed = environment.complete(given, data_dir=tmp_path)

    assert completed["RAZORPAY_BASE_URL"] == "http://127.0.0.1:8456"
    webhook = "http://127.0.0.1:8123/api/webhooks/razorpay/"
    assert completed["STANDIN_WEBHOOK_URLS"] == webhook
    assert completed["RAZORPAY_KEY_ID"].startswith("rzp_test_")


@pytest.mark.parametrize(
    "given",
    [{"RAZORPAY_KEY_ID": "rzp_live_1"}, {"RAZORPAY_BASE_URL": "https://api.razorpay.com"}],
)
def test_a_real_gateway_gets_no_stand_in_and_no_generated_keys(
    tmp_path: Path, given: dict[str, str]
):
    completed = environment.complete(given, data_dir=tmp_path)

    assert not environment.uses_standin(given)
    assert given.get("RAZORPAY_BASE_URL") == completed.get("RAZORPAY_BASE_URL")
    assert "RAZORPAY_KEY_SECRET" not in completed
    assert "RAZORPAY_WEBHOOK_SECRETS" not in completed


def test_live_keys_do_not_get_debug(tmp_path: Path):
    live = environment.complete({"RAZORPAY_KEY_ID": "rzp_live_1"}, data_dir=tmp_path)

    assert live["DEBUG"] == "0"
    assert environment.complete({}, data_dir=tmp_path)["DEBUG"] == "1"


def test_no_proxy_is_used_between_the_processes(tmp_path: Path):
    completed = environment.complete({"NO_PROXY": "example.com"}, data_dir=tmp_path)

    assert completed["NO_PROXY"] == completed["no_proxy"] == "example.com,127.0.0.1,localhost"


# --- ports ---


def test_a_given_port_that_is_taken_is_refused_by_the_name_of_its_variable():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        given = {"PORT": str(other.getsockname()[1])}

        with pytest.raises(ServiceError, match=r"^PORT=\d+ is taken"):
            environment.Ports().take(given, announce=SILENT)


@pytest.mark.parametrize("port", ["0", "65536", "eighty"])
def test_a_given_port_that_is_no_port_is_refused_by_the_name_of_its_variable(port: str):
    with pytest.raises(ServiceError, match=rf"^FLOWER_PORT={port}, must be a port number"):
        environment.Ports().take({"FLOWER_PORT": port}, announce=SILENT)


def test_two_stacks_that_start_together_get_different_ports_and_announce_them():
    announced: list[str] = []
    one, other = environment.Ports(), environment.Ports()

    first = one.take({}, announce=announced.append)
    second = other.take({}, announce=announced.append)

    assert not set(first.values()) & set(second.values())
    assert f"PORT: 8000 is taken, using {second['PORT']}" in announced
    one.release()
    other.release()


def test_a_released_port_can_be_taken_again():
    one, other = environment.Ports(), environment.Ports()
    port = one.take({}, announce=SILENT)["PORT"]
    one.release()

    assert other.take({"PORT": port}, announce=SILENT)["PORT"] == port
    other.release()
