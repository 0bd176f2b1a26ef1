"""The registry of tasks agrees with Celery and with the table of states."""

from tasks import app
from tasks.notify import CANARY
from tasks.registry import NEXT_TASK, WORK


def test_every_task_of_the_registry_is_one_of_celery_and_the_other_way_round():
    app.loader.import_default_modules()
    tasks = {name for name in app.tasks if not name.startswith("celery.")}

    assert {work.task for work in WORK} | {CANARY} == tasks


def test_every_task_that_follows_a_state_has_work():
    assert {work.state: work.task for work in WORK if work.state} == NEXT_TASK
