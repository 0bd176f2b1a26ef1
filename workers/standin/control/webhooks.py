"""Control routes for endpoints, deliveries and the script that changes them."""

import dataclasses
from typing import Any

from workers.standin.control.commands import Command, NotFound, command
from workers.standin.json_fields import BadSetting
from workers.standin.settings import checked_url
from workers.standin.webhooks import Delivery, Endpoint, Script

ENDPOINT_SWITCHES = ("url", "secret", "events", "paused", "disabled")


@command("GET", "endpoints")
def list_endpoints(cmd: Command) -> Any:
    return [dataclasses.asdict(endpoint) for endpoint in cmd.standin.outbox.endpoints.values()]


@command("POST", "endpoints")
def add_endpoint(cmd: Command) -> Any:
    """Subscribe `url`. Without a `secret`, the current one signs."""
    body = cmd.checked_body("url", "secret", "events")
    endpoint = Endpoint(id="", url="", secret=cmd.standin.secrets[0])
    endpoint.change(body)
    added = cmd.standin.outbox.add_endpoint(
        checked_url(endpoint.url), endpoint.secret, endpoint.events
    )
    return dataclasses.asdict(added)


@command("PATCH", "endpoints/{}")
def change_endpoint(cmd: Command) -> Any:
    """A new secret signs events from now on. Older events keep their signature."""
    endpoint: Endpoint = cmd.find(cmd.standin.outbox.endpoints)
    endpoint.change(cmd.checked_body(*ENDPOINT_SWITCHES))
    cmd.standin.outbox.resume()
    return dataclasses.asdict(endpoint)


@command("DELETE", "endpoints/{}")
def remove_endpoint(cmd: Command) -> Any:
    endpoint: Endpoint = cmd.find(cmd.standin.outbox.endpoints)
    del cmd.standin.outbox.endpoints[endpoint.id]
    return {}


@command("POST", "secrets")
def rotate_secret(cmd: Command) -> Any:
    """Sign with `secret` for every endpoint from now on."""
    secret = cmd.checked_body("secret").get("secret")
    if not isinstance(secret, str) or not secret:
        raise BadSetting("secret must be a text that is not empty")
    cmd.standin.secrets.insert(0, secret)
    for endpoint in cmd.standin.outbox.endpoints.values():
        endpoint.secret = secret
    return {"secrets": cmd.standin.secrets}


@command("GET", "deliveries")
def list_deliveries(cmd: Command) -> Any:
    """Oldest first. `?event=`, `?event_id=`, `?endpoint=` (an id) and `?state=` filter."""
    shown = [_shown(delivery) for delivery in cmd.standin.outbox.log]
    for field in ("event", "event_id", "endpoint", "state"):
        if field in cmd.query:
            shown = [entry for entry in shown if entry[field] == cmd.query[field]]
    return shown


@command("POST", "events/{}/replay")
def replay(cmd: Command) -> Any:
    """Send an event again, with the same bytes and signature, to each of its endpoints."""
    again = cmd.standin.outbox.replay(cmd.ids[0])
    if not again:
        raise NotFound(f"no event {cmd.ids[0]}")
    return [_shown(delivery) for delivery in again]


@command("GET", "script")
def show_script(cmd: Command) -> Any:
    return dataclasses.asdict(cmd.standin.outbox.script)


@command("PATCH", "script")
def change_script(cmd: Command) -> Any:
    """Change the named fields. Held deliveries are sent when the pause ends."""
    cmd.standin.outbox.script.change(cmd.body)
    cmd.standin.outbox.resume()
    return dataclasses.asdict(cmd.standin.outbox.script)


@command("DELETE", "script")
def drop_script(cmd: Command) -> Any:
    """Deliver all webhooks unchanged again."""
    cmd.standin.outbox.script = Script()
    cmd.standin.outbox.resume()
    return dataclasses.asdict(cmd.standin.outbox.script)


def _shown(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event": delivery.event.name,
        "event_id": delivery.event.id,
        "endpoint": delivery.endpoint.id,
        "url": delivery.endpoint.url,
        "state": delivery.state,
        "created_at": delivery.event.created_at,
        "headers": delivery.headers(),
        "body": delivery.event.body.decode(),
        "attempts": [dataclasses.asdict(attempt) for attempt in delivery.attempts],
    }
