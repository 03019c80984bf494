"""What acceptance tests share."""
import pytest
from support.server import free_port


@pytest.fixture
def broker(make_server):
    """A server that AMQP clients reach too, at `amqp`."""
    server = make_server()
    server.amqp = free_port()
    server.config["listeners"].append({"host": "127.0.0.1", "port": server.amqp, "protocol": "amqp"})
    server.configure({})
    return server.start()
