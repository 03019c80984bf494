"""`make demo`, small: the whole giveaway with two kills, as somebody at a terminal sees it, and its audit."""
import errno
import os
import pathlib
import pty
import socket
import subprocess

import pytest

from support.server import BINARY, SLOW, free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("SLUICE_BUILD", str(pathlib.Path(BINARY).parents[2]))
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the terminal's second screen


def read_all(terminal):
    """Until the other side is closed, which Linux reports as EIO."""
    text = b""
    while True:
        try:
            text += os.read(terminal, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            return text


def run_demo():
    """Exit status and all that appeared on the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(ROOT / "tools/demo/run"), BUILD], stdin=theirs, stdout=theirs, stderr=theirs,
        env=dict(os.environ, TERM="xterm", DEMO_FAST="1", DEMO_EXIT="1", DEMO_PORT=str(free_port()),
                 DEMO_PROVIDER_PORT=str(free_port())))
    os.close(theirs)
    text = read_all(ours)
    os.close(ours)
    return process.wait(60 * SLOW), text


@pytest.fixture(scope="module")
def demo():
    return run_demo()


def refused_start(folder, **environment):
    """What it says when it does not even begin; `folder` is where it would keep things."""
    folder.mkdir()
    begun = subprocess.run([str(ROOT / "tools/demo/run"), BUILD], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           env=dict(os.environ, TMPDIR=str(folder), DEMO_FAST="1", DEMO_EXIT="1", **environment), timeout=60 * SLOW)
    assert begun.returncode == 1 and "Traceback" not in begun.stderr, begun
    assert list(folder.iterdir()) == [], begun
    return begun.stderr


def test_a_port_that_cannot_be_is_told_and_leaves_nothing(tmp_path):
    free = str(free_port())
    assert refused_start(tmp_path / "a", DEMO_PORT="abc") == "demo: DEMO_PORT=abc: expected a port from 1 to 65535\n"
    assert "DEMO_PROVIDER_PORT=65536" in refused_start(tmp_path / "b", DEMO_PROVIDER_PORT="65536")
    assert "are both" in refused_start(tmp_path / "c", DEMO_PORT=free, DEMO_PROVIDER_PORT=free)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "choose another: DEMO_PORT=" in refused_start(tmp_path / "d", DEMO_PORT=port, DEMO_PROVIDER_PORT=free)
        assert "choose another: DEMO_PROVIDER_PORT=" in refused_start(tmp_path / "e", DEMO_PORT=free, DEMO_PROVIDER_PORT=port)


def test_every_line_of_the_audit_holds(demo):
    status, text = demo
    report = text[text.rfind(LEAVE):].decode()
    assert status == 0, report
    assert "killed 2 times with SIGKILL" in report
    assert "Every line holds." in report and "FAIL" not in report


def test_the_terminal_shows_it_live_and_is_given_back(demo):
    text = demo[1]
    assert text.count(ENTER) == 1 and text.count(LEAVE) == 1
    view = text[text.find(ENTER):text.rfind(LEAVE)].decode()
    for figure in ("accepted/s", "turned away/s", "sent/s", "left in stock", "waiting", "sold-out",
                   "most that the provider saw in any second", "SIGKILL to the server"):
        assert figure in view
