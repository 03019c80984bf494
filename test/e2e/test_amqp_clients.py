"""A public client's own tests, as Debian ships them with it (golang-github-rabbitmq-amqp091-go-dev), against the real
program. `make interop` runs newer ones and those of other languages.

Many of them give whoever they wait for, their own goroutines too, 200 ms or a second, which a busy machine does not always
keep. What fails is therefore run again: what is wrong with a broker is wrong each time."""
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
TRIES = 5


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
    passed, said = set(), ""
    listed = re.findall(r"^((?:Test|Example)\w*)$", run(program, environment, "-test.list=.*"), re.M)
    for _ in range(TRIES):
        left = [name for name in listed if name not in passed]
        said = run(program, environment, "-test.v", "-test.timeout=300s", f"-test.run=^({'|'.join(left)})$")
        passed |= set(re.findall(r"^--- PASS: (\S+)", said, re.M))
        failed = set(listed) - passed - set(re.findall(r"^--- SKIP: (\S+)", said, re.M))
        if failed <= UNSTEADY:
            break
    assert failed <= UNSTEADY, said
    assert len(passed) > 60, said


def run(program, environment, *arguments):
    return subprocess.run([str(program), *arguments], cwd=SOURCES, env=environment, capture_output=True, text=True, check=False,
                          timeout=360).stdout
