"""HTTP for the control routes."""

import ipaddress
import json
from typing import Any

from workers.standin.account import InvalidTransition

# These imports register the routes.
from workers.standin.control import money, running, webhooks  # noqa: F401
from workers.standin.control.commands import CONTROL, Command, NotFound
from workers.standin.errors import ApiError
from workers.standin.json_fields import BadSetting
from workers.standin.replies import Reply, json_reply, refused
from workers.standin.routing import UnknownPath, WrongVerb
from workers.standin.server import Handler


class ControlHandler(Handler):
    """Answers JSON: 400 for a wrong value, 404 for an unknown id, 409 for an invalid transition."""

    def serve(self, path: str) -> None:
        if not ipaddress.ip_address(self.request.remote_ip or "").is_loopback:
            self.answer(_problem(403, "the control API answers only this machine"))
            return
        self.answer(self._reply(path))

    get = post = patch = put = delete = serve

    def _reply(self, path: str) -> Reply:
        try:
            route, ids = CONTROL.find(self.request.method or "", path)
            query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
            command = Command(self.standin, ids, query, _content(self.request.body))
            return json_reply(route.function(command))
        except (UnknownPath, WrongVerb) as error:
            return _problem(404, f"no such control route: {error}")
        except NotFound as error:
            return _problem(404, str(error))
        except BadSetting as error:
            return _problem(400, str(error))
        except InvalidTransition as error:
            return _problem(409, str(error))
        except ApiError as error:
            return refused(error)


def _content(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError:
        raise BadSetting("the body is not JSON") from None


def _problem(status: int, text: str) -> Reply:
    return json_reply({"error": {"description": text}}, status=status)
