"""Fixtures of the tests that talk to the real binary. Run them with scripts/run-tests or `pytest test/e2e`."""
import os
import shutil
import sys

import pika
import pytest

sys.path.insert(0, os.path.dirname(__file__))
from support.example import Example  # noqa: E402
from support.provider import Provider  # noqa: E402
from support.server import BINARY, Server  # noqa: E402

# A busy machine is no broken one: as long as all other clients of the tests wait (10 s and 15 s as pika has it).
pika.ConnectionParameters.DEFAULT_SOCKET_TIMEOUT = 60
pika.ConnectionParameters.DEFAULT_STACK_TIMEOUT = 90


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"{BINARY} is not there: run make, or set SLUICE_BIN", returncode=3)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    item.went_wrong = (yield).get_result().failed or getattr(item, "went_wrong", False)


@pytest.fixture
def tmp_path(tmp_path, request):
    """Goes with the test, unless that failed: each server's log has 128 MB, and there are hundreds."""
    yield tmp_path
    if not getattr(request.node, "went_wrong", False):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def make_server(tmp_path):
    """Servers that are killed at the end of the test, however it ends."""
    made = []

    def make(config=None, name=None):
        server = Server(tmp_path / (name or f"server{len(made)}"), config)
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def make_example(tmp_path):
    """Servers of examples/<name>, with some texts of the file changed."""
    made = []

    def make(name, changes=None):
        made.append(Example(tmp_path / f"{name}{len(made)}", name, changes or {}))
        return made[-1]

    yield make
    for example in made:
        example.kill()


@pytest.fixture
def server(make_server):
    return make_server().start()


@pytest.fixture
def client(server):
    return server.client


@pytest.fixture
def make_provider():
    made = []

    def make(*arguments, **options):
        made.append(Provider(*arguments, **options))
        return made[-1]

    yield make
    for provider in made:
        provider.stop()
