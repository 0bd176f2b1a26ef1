"""
Django settings of the processes that tests start: the shop's, with constants changed by
`PAKKA_TEST_SETTINGS` (JSON). Use `tests.support.process_settings.changed` to set both variables.

Production has no such switch, and the image contains no tests.
"""

import json
import os

from django.core.exceptions import ImproperlyConfigured

from shop.settings import *  # noqa: F403 - all of them

for _name, _value in json.loads(os.environ.get("PAKKA_TEST_SETTINGS", "{}")).items():
    _current = globals().get(_name)
    if type(_value) is not type(_current):
        raise ImproperlyConfigured(f"PAKKA_TEST_SETTINGS: {_name}={_value!r}, was {_current!r}")
    if isinstance(_current, dict):
        if _unknown := _value.keys() - _current.keys():
            raise ImproperlyConfigured(f"PAKKA_TEST_SETTINGS: {_name} has no {_unknown}")
        _current.update(_value)  # in place: REST_FRAMEWORK refers to THROTTLE_RATES
    else:
        globals()[_name] = _value
