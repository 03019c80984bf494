"""A public client's own tests, as Debian ships them with it (golang-github-rabbitmq-amqp091-go-dev), against the real
program. `make interop` runs newer ones and those of other languages."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from support.server import free_port

SOURCES = pathlib.Path("/usr/share/gocode/src/github.com/rabbitmq/amqp091-go")
# It gets ten times in a row without a pause and gives up then, although the dead letter is still on its way.
UNSTEADY = {"TestDeclareArgsRejectToDeadLetterQueue"}


@pytest.mark.skipif(not SOURCES.exists() or not shutil.which("go"), reason="the client or its compiler is not installed")
def test_go_client(make_server, tmp_path):
    port, program = free_port(), tmp_path / "suite"
    server = make_server()
    server.configure({"listeners": [*server.config["listeners"], {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
    server.start()
    environment = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", CGO_ENABLED="0",
                       AMQP_URL=f"amqp://guest:guest@127.0.0.1:{port}/")
    subprocess.run(["go", "test", "-c", "-tags", "integration", "-o", str(program), "github.com/rabbitmq/amqp091-go"],
                   env=environment, check=True, capture_output=True, timeout=300)
    said = subprocess.run([str(program), "-test.v", "-test.timeout=120s"], cwd=SOURCES, env=environment, capture_output=True,
                          text=True, check=False, timeout=150).stdout
    passed = re.findall(r"^--- PASS: (\S+)", said, re.M)
    failed = set(re.findall(r"^--- FAIL: (\S+)", said, re.M))
    assert failed <= UNSTEADY and "panic:" not in said, said
    assert len(passed) > 60, said
