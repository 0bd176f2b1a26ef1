"""The Procfile, compose, the image and the requirements agree, and have no default passwords."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.addresses import REPOSITORY
from workers import health, procfile

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = ["web", "worker", "gateway", "sweeper", "flower"]
OBSERVABILITY = ["prometheus", "grafana"]
LOCKS = (
    "requirements.txt",
    "requirements-otel.txt",
    "requirements-local.txt",
    "requirements-dev.txt",
)


def test_the_procfile_has_the_documented_processes():
    assert list(procfile.commands()) == PROCESSES


@pytest.mark.parametrize("name", PROCESSES)
def test_a_container_of_the_same_name_runs_the_procfile_s_command(name: str):
    assert SERVICES[name]["command"] == ["python", "-m", "workers.procfile", name]


def test_compose_adds_the_databases_the_migration_and_optional_services():
    always, on_request = (
        {"proxy", "postgres", "redis", "roles", "migrate"},
        {"standin", *OBSERVABILITY},
    )
    assert set(SERVICES) - set(PROCESSES) == always | on_request
    assert SERVICES["standin"]["profiles"] == ["standin"]
    assert all(SERVICES[name]["profiles"] == ["observability"] for name in OBSERVABILITY)
    assert all("profiles" not in SERVICES[name] for name in set(SERVICES) - on_request)


def test_the_admin_gets_the_address_of_flower():
    assert SERVICES["web"]["environment"]["FLOWER_URL"] == "${PUBLIC_URL}/flower"
    assert SERVICES["flower"]["environment"]["FLOWER_URL_PREFIX"] == "flower"


@pytest.mark.parametrize("name", [*PROCESSES, "migrate", "standin"])
def test_every_setting_of_the_file_reaches_the_shop(name: str):
    assert SERVICES[name]["env_file"] == [{"path": ".env", "required": False}]


def test_other_machines_can_reach_only_the_proxy():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published.pop("proxy") == ["${PORT:-80}:8080", "${TLS_PORT:-443}:8443"]
    assert set(published) == {"standin", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_shop_trusts_only_the_proxy():
    """Whatever .env says: the proxy replaces the address that a client claims."""
    assert SERVICES["web"]["environment"]["TRUSTED_PROXIES"] == 1
    assert (
        "proxy_set_header X-Forwarded-For $remote_addr;"
        in (REPOSITORY / "deploy" / "proxy" / "headers.conf").read_text()
    )


def test_the_proxy_finds_the_containers_at_their_ports():
    upstreams = (REPOSITORY / "deploy" / "proxy" / "containers.conf").read_text()

    found = dict(re.findall(r"default (\w+):(\d+);", upstreams))
    environment = SERVICES["flower"]["environment"]
    assert found == {
        "web": str(environment["PORT"]), "flower": str(environment["FLOWER_PORT"]),
        "grafana": "3000",
    }  # fmt: skip
    assert set(found) <= set(SERVICES)


def test_the_proxy_runs_without_root_and_its_main_file_exists():
    proxy = SERVICES["proxy"]

    assert proxy["user"] == "101:101"
    assert (proxy["cap_drop"], proxy["read_only"]) == (["ALL"], True)
    assert proxy["command"][2] == "/etc/nginx/pakka/${PROXY:-tls}.conf"
    assert {file.name for file in (REPOSITORY / "deploy" / "proxy").iterdir()} >= {
        "tls.conf", "plain.conf"
    }  # fmt: skip


def test_the_stand_in_listens_on_its_mapped_port():
    [mapped] = SERVICES["standin"]["ports"]

    assert mapped.endswith(f":{SERVICES['standin']['environment']['STANDIN_PORT']}")


def test_no_process_starts_before_the_database_is_migrated():
    for name in PROCESSES:
        needed = SERVICES[name]["depends_on"]["migrate"]
        assert needed == {"condition": "service_completed_successfully"}


def test_every_secret_of_compose_is_required():
    secret = re.compile(r"PASSWORD|SECRET|_AUTH|KEY")
    text = (REPOSITORY / "docker-compose.yml").read_text()

    named = re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", text)

    secrets = {name: rest for name, rest in named if secret.search(name)}
    assert len(secrets) == 9
    # Compose asks for what a profile needs even without the profile: Grafana itself refuses.
    assert secrets.pop("GRAFANA_PASSWORD") == ":-"
    assert set(secrets.values()) == {":?is missing"}


def test_grafana_does_not_start_without_a_password():
    [shell, option, command] = SERVICES["grafana"]["entrypoint"]
    command = command.replace("$$", "$").replace("exec /run.sh", "echo started")

    def start(password: str) -> str:
        environ = {"GF_SECURITY_ADMIN_PASSWORD": password, "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [shell, option, command], env=environ, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert "Set GRAFANA_PASSWORD" in start("")
    assert start("a password") == "started\n"


def test_flower_does_not_start_without_a_login():
    done = subprocess.run(
        ["sh", "-c", procfile.commands()["flower"].replace("exec ", "echo started: ")],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "FLOWER_BASIC_AUTH: is the login, as user:password" in done.stderr
    assert "started" not in done.stdout


def test_every_process_with_a_health_address_or_heartbeats_has_a_health_check():
    for name in (*health.ADDRESSES, *health.HEARTBEATS):
        assert SERVICES[name]["healthcheck"]["test"][-2:] == ["workers.health", name]


def test_one_service_builds_the_image_and_the_others_use_it():
    """If six services build, each makes an image, and a later build recreates all containers."""
    ours = {
        name: service for name, service in SERVICES.items() if service["image"].startswith("pakka:")
    }

    assert set(ours) == {*PROCESSES, "migrate", "standin"}
    assert [name for name, service in ours.items() if "build" in service] == ["migrate"]
    assert {(it["image"], it["pull_policy"]) for it in ours.values()} == {
        ("pakka:${PAKKA_VERSION:-latest}", "never")
    }


def test_valkey_runs_through_its_entrypoint_with_few_capabilities():
    """The entrypoint gives up root. A shell that starts valkey-server itself does not."""
    redis = SERVICES["redis"]

    assert "entrypoint" not in redis
    assert "exec docker-entrypoint.sh valkey-server" in redis["command"]
    assert redis["cap_drop"] == ["ALL"]
    assert redis["cap_add"] == ["CHOWN", "DAC_READ_SEARCH", "SETGID", "SETUID"]
    assert redis["security_opt"] == ["no-new-privileges:true"]


def test_the_image_has_a_compiled_standard_library():
    """Without it a read-only container compiles the library at each start."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    [command] = re.findall(r"^RUN (python -m compileall(?:.*\\\n)*.*)$", dockerfile, re.MULTILINE)

    assert 'sysconfig.get_path("stdlib")' in command
    assert command.endswith("shop tasks workers")
    assert all(SERVICES[name]["read_only"] for name in [*PROCESSES, "migrate", "standin"])


def test_the_processes_connect_as_a_role_that_owns_nothing():
    """Only the database, its roles and `migrate` get the superuser's password."""
    for name in PROCESSES:
        environment = SERVICES[name]["environment"]
        assert environment["DATABASE_URL"].startswith(
            "postgres://pakka_app:${POSTGRES_APP_PASSWORD"
        )
        assert environment["POSTGRES_PASSWORD"] == ""
        assert "DATABASE_OWNER_URL" not in environment
    owner = SERVICES["migrate"]["environment"]["DATABASE_OWNER_URL"]
    assert owner.startswith("postgres://pakka_owner:${POSTGRES_PASSWORD")
    assert SERVICES["migrate"]["depends_on"] == {
        "roles": {"condition": "service_completed_successfully"}
    }
    assert SERVICES["roles"]["volumes"] == ["./deploy/postgres/roles.sql:/roles.sql:ro"]


def test_the_databases_log_shows_no_values_of_rows():
    assert "log_error_verbosity=terse" in SERVICES["postgres"]["command"]


def test_the_image_does_not_run_as_root():
    dockerfile = (REPOSITORY / "Dockerfile").read_text()

    assert re.findall(r"^USER (\w+)$", dockerfile, re.MULTILINE)[-1] != "root"


def test_dockerignore_lets_through_what_the_image_copies():
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    copies = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE
    )

    for name in " ".join(copies).split():
        assert f"!{name}" in ignored
        assert (REPOSITORY / name).exists()


@pytest.mark.parametrize("name", LOCKS)
def test_every_pinned_package_has_hashes_and_no_address(name: str):
    text = (REPOSITORY / name).read_text()

    pins = re.split(r"\n(?=\S)", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).strip())

    assert len(pins) > 50
    assert [pin for pin in pins if not re.match(r"[\w-]+==\S+.*\\\n    --hash=sha256:", pin)] == []
    assert "://" not in text


def test_the_locks_agree_on_every_version():
    seen: dict[str, set[str]] = {}
    for name in LOCKS:
        for package, version in re.findall(
            r"^(\S+)==(\S+)", (REPOSITORY / name).read_text(), re.MULTILINE
        ):
            seen.setdefault(package, set()).add(version)

    assert {package: found for package, found in seen.items() if len(found) > 1} == {}


def test_every_requirement_is_pinned():
    for name in LOCKS:
        lock = (REPOSITORY / name).read_text()
        for line in (REPOSITORY / name).with_suffix(".in").read_text().splitlines():
            if wanted := re.match(r"[A-Za-z][\w-]*", line):
                assert re.search(rf"^{wanted[0]}==", lock, re.MULTILINE | re.IGNORECASE), line


def test_the_commands_of_the_contract_are_documented_in_make_help():
    shown = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout

    for target in ("demo", "up", "test", "check"):
        assert re.search(rf"^  make {target} +\w", shown, re.MULTILINE)


def test_the_project_names_its_python_version():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=3.11"
    assert Path(REPOSITORY / "LICENSE").read_text().lstrip().startswith("Apache License")
