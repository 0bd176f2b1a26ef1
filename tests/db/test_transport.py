"""Our channel raises what Celery expects when Redis stops; kombu's does not."""

import pytest
from redis import Redis

from tasks.app import app
from tasks.transport import Channel


def test_a_channel_that_lost_its_connection_fails_as_celery_expects(redis: Redis):
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        assert isinstance(channel, Channel)
        channel.connection.client = None  # as when the transport was closed before its channels

        with pytest.raises(connection.connection_errors), channel.conn_or_acquire():
            pass
