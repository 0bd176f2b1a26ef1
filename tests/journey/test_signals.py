"""What operations see of the real processes: signs of life, metrics, logs, Flower."""

from __future__ import annotations

import json
import time

from prometheus_client.parser import text_string_to_metric_families

from tests.journey.conftest import CANARY_SECONDS
from tests.support.buyers import ADDRESS, until
from tests.support.running_shop import RunningShop

Login = tuple[str, str]

PHONE, EMAIL, CARD = f"+91{ADDRESS['phone']}", "planted.asha@example.in", "4111111111111111"
TOKEN = "a-planted-token-0123456789"


def health(floor: RunningShop) -> dict:
    return floor.http.get(f"{floor.stack.base_url}/health/ready", timeout=20).json()


def metrics(floor: RunningShop) -> dict[tuple[str, str], float]:
    """{(name, label values in the order of their names): value}, read anew."""
    text = floor.http.get(f"{floor.stack.base_url}/metrics", timeout=20).text
    return {
        (sample.name, " ".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def login(floor: RunningShop) -> Login:
    user, _, password = floor.stack.environment["FLOWER_BASIC_AUTH"].partition(":")
    return user, password


def test_a_worker_that_takes_no_tasks_is_seen_and_so_is_its_recovery(floor: RunningShop):
    until(lambda: health(floor)["status"] == "ok")
    floor.stack.freeze("gateway")
    try:
        until(lambda: health(floor)["checks"]["canary.gateway"].startswith("silent for"))
        assert health(floor)["status"] == "degraded"
        until(lambda: metrics(floor)["pakka_canary_age_seconds", "gateway"] > 3 * CANARY_SECONDS)
        assert metrics(floor)["pakka_canary_age_seconds", "webhooks"] < 3 * CANARY_SECONDS
    finally:
        floor.stack.thaw("gateway")

    until(lambda: health(floor)["status"] == "ok")
    assert metrics(floor)["pakka_postgres_up", ""] == 1


def test_one_scrape_of_a_web_process_has_the_counts_of_all_processes(floor: RunningShop):
    [buyer] = floor.arrive(1)
    before = metrics(floor)
    checkout = buyer.wait(buyer.post(), "awaiting_payment")
    floor.pay(checkout)
    buyer.wait(checkout, "paid")

    def grown() -> set[str]:
        after = metrics(floor)
        return {f"{name} {labels}" for (name, labels), value in after.items()
                if value > before.get((name, labels), 0)}  # fmt: skip

    until(
        lambda: (
            grown()
            >= {
                "pakka_http_request_seconds_count POST api/payments/create-from-cart/ 2xx",
                "pakka_task_seconds_count ok checkout.validate_cart",
                "pakka_task_seconds_count ok checkout.create_razorpay_order",
                "pakka_gateway_call_seconds_count create_order ok",
                "pakka_checkout_transitions_total paid",
                "pakka_checkout_reached_seconds_count awaiting_payment",
                "pakka_task_batch_rows_count payments.reconcile_webhook",
            }
        )
    )


def test_a_restarted_worker_does_not_take_its_counts_along(floor: RunningShop):
    key = ("pakka_task_seconds_count", "ok workers.canary")
    until(lambda: metrics(floor).get(key, 0) > 0)
    before = metrics(floor)[key]

    floor.stack.kill("gateway")
    floor.stack.kill("worker")
    between = metrics(floor)[key]
    floor.stack.restart("gateway")
    floor.stack.restart("worker")

    assert between >= before
    until(lambda: metrics(floor)[key] > between)


def test_one_id_leads_from_the_request_to_the_call_to_razorpay(floor: RunningShop):
    [buyer] = floor.arrive(1)
    buyer.http.headers["X-Request-Id"] = request_id = f"journey-{time.time_ns()}"
    checkout = buyer.post()
    del buyer.http.headers["X-Request-Id"]
    buyer.wait(checkout, "awaiting_payment")

    def told(process: str, event: str) -> list[dict]:
        lines = [
            json.loads(line)
            for line in floor.stack.logs(process).splitlines()
            if request_id in line and line.startswith("{")
        ]
        return [line for line in lines if line["event"] == event]

    until(lambda: told("gateway", "task"))
    [request] = told("web", "request")
    assert request["checkout_id"] == checkout["id"]
    assert {line["checkout_id"] for line in told("worker", "task")} == {checkout["id"]}
    [call] = told("gateway", "gateway call")
    assert (call["operation"], call["checkout_id"]) == ("create_order", checkout["id"])


# --- Flower ---


def test_flower_asks_who_is_there_and_lets_nobody_act(floor: RunningShop):
    url = floor.stack.flower_url
    worker = f"{url}/api/worker/shutdown/worker@nowhere"

    assert floor.http.get(f"{url}/tasks", timeout=20).status_code == 401
    assert floor.http.get(f"{url}/api/tasks", timeout=20).status_code == 401
    assert floor.http.post(worker, auth=login(floor), timeout=20).status_code == 403
    assert "flower_events_total" in floor.http.get(f"{url}/metrics", timeout=20).text


def test_flower_remembers_tasks_through_a_restart(floor: RunningShop):
    until(lambda: len(floor.tasks()) > 0)
    known = {task["uuid"] for task in floor.tasks(taskname="workers.canary")}

    floor.stack.restart("flower")
    floor.stack.wait_ready()

    assert known <= {task["uuid"] for task in floor.tasks(taskname="workers.canary", limit="10000")}


def test_flower_shows_queues_and_what_tasks_came_to_and_no_secret(floor: RunningShop):
    checkout = plant(floor)
    until(lambda: len(floor.tasks(search=checkout["id"])) >= 4)

    def read(path: str) -> str:
        answer = floor.http.get(f"{floor.stack.flower_url}{path}", auth=login(floor), timeout=30)
        assert answer.status_code == 200, path
        return answer.text

    workers = json.loads(read("/api/workers?refresh=1"))
    assert {name.partition("@")[0] for name in workers} == {"worker", "gateway"}
    pages = {path: read(path) for path in ("/workers", "/broker", "/tasks", "/api/tasks")}
    pages |= {f"/worker/{name}": read(f"/worker/{name}") for name in workers}
    pages |= {f"/task/{task['uuid']}": read(f"/task/{task['uuid']}") for task in floor.tasks()}

    for queue in ("checkout", "gateway", "webhooks"):
        assert f"came through {queue}" in pages["/api/tasks"]
        assert queue in pages["/broker"]
    for text in (*pages.values(), json.dumps(workers)):
        assert_nothing_planted_is_in(text, floor)


def test_no_process_writes_a_secret_into_its_log(floor: RunningShop):
    plant(floor)

    for name in floor.stack.names:
        if name != "standin":  # it stands for Razorpay, and writes what it likes
            assert_nothing_planted_is_in(floor.stack.logs(name), floor)


def plant(floor: RunningShop) -> dict:
    """A whole checkout, and refused requests, with what must not be read in every place."""
    [buyer] = floor.arrive(1)
    buyer.http.headers["Cookie"] = f"sessionid={TOKEN}"
    checkout = buyer.wait(buyer.post(), "awaiting_payment")
    floor.pay(checkout)
    buyer.wait(checkout, "paid")
    body = {"email": EMAIL, "password": TOKEN, "card": CARD, "contact": PHONE, "event": "x"}
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Razorpay-Signature": TOKEN}
    for path in ("auth/token/", "payments/create-from-cart/", "webhooks/razorpay/"):
        url = f"{floor.stack.base_url}/api/{path}"
        floor.http.post(url, json=body, headers=headers, timeout=20)
    floor.http.get(f"{floor.stack.base_url}/{EMAIL}/{CARD}?t={TOKEN}&p={PHONE}", timeout=20)
    return checkout


def assert_nothing_planted_is_in(text: str, floor: RunningShop) -> None:
    environ = floor.stack.environment
    names = ("SECRET_KEY", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRETS", "ADMIN_PASSWORD")
    secrets = [environ[name] for name in names] + [environ["FLOWER_BASIC_AUTH"].split(":")[1]]
    for planted in (PHONE, PHONE.removeprefix("+91"), EMAIL, CARD, TOKEN, *secrets):
        assert planted not in text
