"""What operations see of the real processes: heartbeats, metrics, logs, Flower."""

from __future__ import annotations

import json
import time

from tests.support.buyers import ADDRESS, until
from tests.support.process_settings import CANARY_SECONDS
from tests.support.running_shop import RunningShop

Login = tuple[str, str]

PHONE, EMAIL, CARD = f"+91{ADDRESS['phone']}", "planted.asha@example.in", "4111111111111111"
TOKEN = "a-planted-token-0123456789"


def health(running_shop: RunningShop) -> dict:
    return running_shop.http.get(f"{running_shop.stack.base_url}/health/ready", timeout=20).json()


def login(running_shop: RunningShop) -> Login:
    user, _, password = running_shop.stack.environment["FLOWER_BASIC_AUTH"].partition(":")
    return user, password


def test_a_hanging_worker_shows_and_so_does_its_recovery(running_shop: RunningShop):
    until(lambda: health(running_shop)["status"] == "ok")
    running_shop.stack.freeze("gateway")
    try:
        until(lambda: health(running_shop)["checks"]["canary.gateway"].startswith("silent for"))
        assert health(running_shop)["status"] == "degraded"
        until(
            lambda: (
                running_shop.metrics()["pakka_canary_age_seconds", "gateway"] > 3 * CANARY_SECONDS
            )
        )
        assert running_shop.metrics()["pakka_canary_age_seconds", "webhooks"] < 3 * CANARY_SECONDS
    finally:
        running_shop.stack.thaw("gateway")

    until(lambda: health(running_shop)["status"] == "ok")
    assert running_shop.metrics()["pakka_postgres_up", ""] == 1


def test_one_scrape_of_a_web_process_has_the_counts_of_all_processes(running_shop: RunningShop):
    [buyer] = running_shop.arrive(1)
    before = running_shop.metrics()
    checkout = buyer.wait(buyer.post(), "awaiting_payment")
    running_shop.pay(checkout)
    buyer.wait(checkout, "paid")

    def grown() -> set[str]:
        after = running_shop.metrics()
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


def test_a_restarted_worker_keeps_its_counts(running_shop: RunningShop):
    key = ("pakka_task_seconds_count", "ok workers.canary")
    until(lambda: running_shop.metrics().get(key, 0) > 0)
    before = running_shop.metrics()[key]

    running_shop.stack.kill("gateway")
    running_shop.stack.kill("worker")
    between = running_shop.metrics()[key]
    running_shop.stack.restart("gateway")
    running_shop.stack.restart("worker")

    assert between >= before
    until(lambda: running_shop.metrics()[key] > between)


def test_one_id_leads_from_the_request_to_the_call_to_razorpay(running_shop: RunningShop):
    [buyer] = running_shop.arrive(1)
    buyer.http.headers["X-Request-Id"] = request_id = f"journey-{time.time_ns()}"
    checkout = buyer.post()
    del buyer.http.headers["X-Request-Id"]
    buyer.wait(checkout, "awaiting_payment")

    def log_lines(process: str, event: str) -> list[dict]:
        lines = [
            json.loads(line)
            for line in running_shop.stack.logs(process).splitlines()
            if request_id in line and line.startswith("{")
        ]
        return [line for line in lines if line["event"] == event]

    until(lambda: log_lines("gateway", "task"))
    [request] = log_lines("web", "request")
    assert request["checkout_id"] == checkout["id"]
    assert {line["checkout_id"] for line in log_lines("worker", "task")} == {checkout["id"]}
    [call] = log_lines("gateway", "gateway call")
    assert (call["operation"], call["checkout_id"]) == ("create_order", checkout["id"])


# --- Flower ---


def test_flower_requires_a_login_and_is_read_only(running_shop: RunningShop):
    url = running_shop.stack.flower_url
    worker = f"{url}/api/worker/shutdown/worker@nowhere"

    assert running_shop.http.get(f"{url}/tasks", timeout=20).status_code == 401
    assert running_shop.http.get(f"{url}/api/tasks", timeout=20).status_code == 401
    assert running_shop.http.post(worker, auth=login(running_shop), timeout=20).status_code == 403
    assert "flower_events_total" in running_shop.http.get(f"{url}/metrics", timeout=20).text


def test_flower_remembers_tasks_through_a_restart(running_shop: RunningShop):
    until(lambda: len(running_shop.tasks()) > 0)
    known = {task["uuid"] for task in running_shop.tasks(taskname="workers.canary")}

    running_shop.stack.restart("flower")
    running_shop.stack.wait_ready()

    assert known <= {
        task["uuid"] for task in running_shop.tasks(taskname="workers.canary", limit="10000")
    }


def test_flower_shows_queues_and_results_and_no_secret(running_shop: RunningShop):
    checkout = plant(running_shop)
    until(lambda: len(running_shop.tasks(search=checkout["id"])) >= 4)

    def read(path: str) -> str:
        answer = running_shop.http.get(
            f"{running_shop.stack.flower_url}{path}", auth=login(running_shop), timeout=30
        )
        assert answer.status_code == 200, path
        return answer.text

    workers = json.loads(read("/api/workers?refresh=1"))
    assert {name.partition("@")[0] for name in workers} == {"worker", "gateway"}
    pages = {path: read(path) for path in ("/workers", "/broker", "/tasks", "/api/tasks")}
    pages |= {f"/worker/{name}": read(f"/worker/{name}") for name in workers}
    pages |= {
        f"/task/{task['uuid']}": read(f"/task/{task['uuid']}") for task in running_shop.tasks()
    }

    for queue in ("checkout", "gateway", "webhooks"):
        assert f"came through {queue}" in pages["/api/tasks"]
        assert queue in pages["/broker"]
    for text in (*pages.values(), json.dumps(workers)):
        assert_nothing_planted_is_in(text, running_shop)


def test_no_process_writes_a_secret_into_its_log(running_shop: RunningShop):
    plant(running_shop)

    for name in running_shop.stack.names:
        if name != "standin":  # it stands for Razorpay, whose log is not ours
            assert_nothing_planted_is_in(running_shop.stack.logs(name), running_shop)


def plant(running_shop: RunningShop) -> dict:
    """A whole checkout, and refused requests, with secrets and personal data in every place."""
    [buyer] = running_shop.arrive(1)
    buyer.http.headers["Cookie"] = f"sessionid={TOKEN}"
    checkout = buyer.wait(buyer.post(), "awaiting_payment")
    running_shop.pay(checkout)
    buyer.wait(checkout, "paid")
    body = {"email": EMAIL, "password": TOKEN, "card": CARD, "contact": PHONE, "event": "x"}
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Razorpay-Signature": TOKEN}
    for path in ("auth/token/", "payments/create-from-cart/", "webhooks/razorpay/"):
        url = f"{running_shop.stack.base_url}/api/{path}"
        running_shop.http.post(url, json=body, headers=headers, timeout=20)
    running_shop.http.get(
        f"{running_shop.stack.base_url}/{EMAIL}/{CARD}?t={TOKEN}&p={PHONE}", timeout=20
    )
    return checkout


def assert_nothing_planted_is_in(text: str, running_shop: RunningShop) -> None:
    environ = running_shop.stack.environment
    names = ("SECRET_KEY", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRETS", "ADMIN_PASSWORD")
    secrets = [environ[name] for name in names] + [environ["FLOWER_BASIC_AUTH"].split(":")[1]]
    for planted in (PHONE, PHONE.removeprefix("+91"), EMAIL, CARD, TOKEN, *secrets):
        assert planted not in text
