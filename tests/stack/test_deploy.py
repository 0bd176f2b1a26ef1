"""Alerts and dashboard: valid, with runbooks, and only about metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from shop.addresses import REPOSITORY
from shop.ops import cache, metrics
from shop.telemetry import instruments

DEPLOY = REPOSITORY / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "pakka.json").read_text())
BUILT_IN = {"up"}
HANDBOOK = re.compile(r"docs/operations\.md#[a-z-]+")


def expressions() -> Iterator[str]:
    yield from (alert["expr"] for alert in ALERTS)
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads. :raises ValueError: it is invalid."""
    names: set[str] = set()

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(str(node.name))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_summary_a_severity_and_a_runbook(alert):
    assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", alert["for"])
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")
    assert HANDBOOK.fullmatch(alert["annotations"]["runbook"])


def test_every_alert_has_its_own_name_and_runbook():
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)
    assert len({alert["annotations"]["runbook"] for alert in ALERTS}) == len(ALERTS)


def test_the_handbook_has_one_runbook_for_each_alert():
    _, _, runbooks = (REPOSITORY / "docs" / "operations.md").read_text().partition("# Runbooks\n")
    called = {alert["annotations"]["runbook"].partition("#")[2] for alert in ALERTS}

    assert set(re.findall(r"^## (\S+)$", runbooks, re.MULTILINE)) == called


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_alerts_and_dashboard_read_only_existing_metrics(now):
    for instrument in (instruments.HTTP, instruments.GATEWAY, instruments.TASKS):
        instrument.labels(*["test"] * len(instrument._labelnames)).observe(0)
    for instrument in (instruments.BATCHES, instruments.REACHED):
        instrument.labels("test").observe(0)
    instruments.CARTS.labels("test").inc(0)
    instruments.LOCKED.labels("test").inc(0)
    instruments.TRANSITIONS.labels("test").inc(0)
    instruments.FAILURES.labels("test").inc(0)
    instruments.WORKER_STARTS.labels("test").inc(0)
    cache.forget()
    text = metrics.exposition(now=now).decode()
    families = text_string_to_metric_families(text)
    shown = {sample.name for family in families for sample in family.samples}

    read = {name for expression in expressions() for name in names_in(expression)}

    assert read - shown - BUILT_IN == set()
    assert len(read) > 25


def test_the_panels_of_the_dashboard_do_not_overlap():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in places
        for x in range(place["w"])
        for y in range(place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_prometheus_scrapes_the_containers_of_compose():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    asked = set()
    for job in config["scrape_configs"]:
        for static in job.get("static_configs", []):
            asked |= {target.split(":")[0] for target in static["targets"]}
        for names in job.get("dns_sd_configs", []):
            asked |= set(names["names"])
            assert {services[name]["environment"]["METRICS_PORT"] for name in names["names"]} == {
                names["port"]
            }

    assert asked == {"web", "worker", "gateway", "sweeper", "flower"}
    for part in config["rule_files"]:
        assert (DEPLOY / "prometheus" / part).exists()


def test_grafana_finds_its_data_source_and_its_dashboard():
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    yaml.safe_load((provisioning / "dashboards" / "pakka.yml").read_text())

    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
