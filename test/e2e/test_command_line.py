"""A server that is not plain HTTP on 127.0.0.1: TLS of a private authority, certificates renewed, IPv6; and the command line."""
import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

from support import server as program
from support.client import Client
from support.server import Server, free_port


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """One plain listener for the fixture's own client, one with TLS that only tls/cert.pem vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=sluice",
                    "-addext", "subjectAltName=IP:127.0.0.1,IP:::1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    tls = {"certificate": str(certificate), "key": str(key)}
    server = Server(folder / "server")
    server.tls_port = free_port()
    listeners = [{"host": "127.0.0.1", "port": server.port}, {"host": "127.0.0.1", "port": server.tls_port, "tls": tls}]
    if has_ipv6():
        listeners += [{"host": "::1", "port": server.port}, {"host": "::1", "port": server.tls_port, "tls": tls}]
    server.configure({"listeners": listeners})
    server.certificate = certificate
    server.start()
    server.client.put("/v1/queues/jobs", {})
    yield server
    server.kill()


def test_a_private_authority_is_named_by_option_or_environment(secure):
    url = f"https://127.0.0.1:{secure.tls_port}"
    for result in [program.run("--url", url, "--ca", secure.certificate, "queue", "list"),
                   program.run("queue", "list", env={"SLUICE_URL": url, "SLUICE_CA_FILE": str(secure.certificate)})]:
        assert result.returncode == 0 and "jobs" in result.stdout, result.stderr


def test_an_unknown_authority_is_refused_and_the_way_out_is_said(secure):
    result = program.run("--url", f"https://127.0.0.1:{secure.tls_port}", "queue", "list")
    assert result.returncode == 1 and "SLUICE_CA_FILE" in result.stderr, result.stderr
    missing = program.run("--url", f"https://127.0.0.1:{secure.tls_port}", "--ca", "/nonexistent.pem", "queue", "list")
    assert missing.returncode == 1 and "--ca" in missing.stderr, missing.stderr


def test_top_follows_over_tls(secure):
    options = ["--url", f"https://127.0.0.1:{secure.tls_port}", "--ca", str(secure.certificate)]
    top = subprocess.Popen([program.BINARY, *options, "top"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    try:
        lines = [top.stdout.readline() for _ in range(3)]  # one a second
    finally:
        top.terminate()
        _, said = top.communicate(timeout=60)
    assert "accepted" in lines[-1], (lines, said)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6_is_served_plain_and_with_tls(secure):
    for options in [["--url", f"http://[::1]:{secure.port}"],
                    ["--url", f"https://[::1]:{secure.tls_port}", "--ca", secure.certificate]]:
        result = program.run(*options, "--json", "queue", "list")
        assert result.returncode == 0 and "jobs" in json.dumps(json.loads(result.stdout)), result.stderr


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_the_ipv6_loopback_is_loopback_and_any_is_not(tmp_path):
    server = Server(tmp_path)
    server.configure({"listeners": [{"host": "::", "port": server.port}]})
    server.launch()
    assert server.wait_end() != 0
    assert "token" in server.output(), server.output()


def make_certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out",
                    folder / "cert.pem"], check=True, capture_output=True)


def shown_certificate(port):
    return ssl.get_server_certificate(("127.0.0.1", port))


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds * program.SLOW
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def test_hang_up_renews_certificates_and_breaks_nobody(tmp_path):
    make_certificate(tmp_path, "first")
    server = Server(tmp_path / "server")
    tls_port = free_port()
    server.configure({"listeners": [{"host": "127.0.0.1", "port": server.port}, {
        "host": "127.0.0.1", "port": tls_port,
        "tls": {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}}]})
    server.start()
    try:
        first = shown_certificate(tls_port)
        open_since_before = Client(tls_port, tls=ssl._create_unverified_context())
        assert open_since_before.get("/healthz").status == 200

        make_certificate(tmp_path, "second")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown_certificate(tls_port) != first)
        second = shown_certificate(tls_port)
        assert open_since_before.get("/healthz").status == 200

        (tmp_path / "key.pem").write_text("no key")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "cannot be renewed" in server.output())
        assert shown_certificate(tls_port) == second
        assert server.stop() == 0
    finally:
        server.kill()


def test_an_unusable_certificate_ends_the_start_and_names_the_file(tmp_path):
    make_certificate(tmp_path, "one")
    (tmp_path / "key.pem").write_text("no key")
    server = Server(tmp_path / "server")
    server.configure({"listeners": [{"host": "127.0.0.1", "port": server.port, "tls": {
        "certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}}]})
    server.launch()
    assert server.wait_end() == 1 and "key.pem" in server.output(), server.output()
    (tmp_path / "cert.pem").unlink()
    server.launch()
    assert server.wait_end() == 1 and "cert.pem: No such file or directory" in server.output(), server.output()


def test_each_command_says_how_it_is_used():
    for noun in ["serve", "config", "top", "log", "audit", "import", "token", "queue", "stock", "campaign", "destination", "receipt",
                 "status"]:
        for arguments in [(noun, "--help"), ("help", noun), (noun, "x", "-h")]:
            result = program.run(*arguments)
            assert result.returncode == 0 and noun in result.stdout and result.stderr == "", (arguments, result)
    assert "--salvage" in program.run("serve", "--help").stdout
    assert "--contains" in program.run("queue", "--help").stdout
    assert "usage" not in program.run("queue", "search", "q", "--contains", "-h").stdout
    everything = program.run("help").stdout
    assert everything == program.run("--help").stdout and everything == program.run("help", "nonsense").stdout
    assert all(len(line) < 120 for line in everything.splitlines()), everything


def test_a_position_is_a_number(secure):
    result = program.run("log", "dump", secure.data, "first")
    assert result.returncode == 2 and "FIRST-POSITION" in result.stderr, result


def test_a_verb_that_is_missing_is_listed():
    result = program.run("queue", "shwo", "mail")
    assert result.returncode == 2 and "queue show NAME" in result.stderr and "queue edit" in result.stderr, result
    assert "unknown command `queue shwo`" in result.stderr, result


def test_options_of_the_call_may_stand_behind_the_command(secure):
    url = f"http://127.0.0.1:{secure.port}"
    for words in [("queue", "list", "--json", "--url", url), ("queue", "--url", url, "list", "--json"),
                  ("queue", "search", "jobs", "--json", "--url", url), ("--json", "queue", "show", "jobs", f"--url={url}")]:
        result = program.run(*words)
        assert result.returncode == 0 and json.loads(result.stdout), (words, result)
    assert program.run("status", "--url", url).returncode == 0
    for words in [("queue", "list", "--jsn"), ("queue", "search", "jobs", "--jsn")]:
        result = program.run(*words)
        assert result.returncode == 2 and "--jsn" in result.stderr and "usage: sluice queue" in result.stderr, result


def test_a_missing_or_unknown_token_is_told_from_a_server_that_is_away(tmp_path):
    token = program.run("token", "new")
    given = next(line.split('"')[1] for line in token.stderr.splitlines() if "hash" in line)
    server = Server(tmp_path, {"tokens": [{"name": "shop", "hash": given, "scopes": ["publish"]}]})
    server.start()
    url = f"http://127.0.0.1:{server.port}"
    try:
        none = program.run("queue", "list", "--url", url)
        assert none.returncode == 1 and "SLUICE_TOKEN" in none.stderr, none
        wrong = program.run("queue", "list", "--url", url, "--token", "slc_wrong")
        assert wrong.returncode == 1 and "does not know" in wrong.stderr, wrong
        top = program.run("top", "--url", url)  # ends by itself
        assert top.returncode == 1 and "SLUICE_TOKEN" in top.stderr, top
        narrow = program.run("top", "--url", url, "--token", token.stdout.strip())
        assert narrow.returncode == 1 and "scope" in narrow.stderr, narrow
    finally:
        server.kill()


def test_the_other_scheme_is_guessed(secure):
    result = program.run("status", "--url", f"http://127.0.0.1:{secure.tls_port}")
    assert result.returncode == 1 and "https://" in result.stderr, result


@pytest.mark.skipif(os.geteuid() != 0, reason="drops rights that only root has")
def test_a_folder_of_somebody_else_is_not_a_damaged_one(secure):
    def fewer_rights():  # root without the right to read what is not its own to read
        ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        ctypes.CDLL(None).prctl(24, 2)  # CAP_DAC_READ_SEARCH

    secure.data.chmod(0)
    try:
        for tool in ("log", "audit"):
            result = program.run(tool, "verify", secure.data, preexec_fn=fewer_rights)
            assert result.returncode == 1 and "permission denied" in result.stderr.lower(), result
    finally:
        secure.data.chmod(0o700)


def test_a_hash_that_is_none_says_nothing_of_the_audit(secure):
    result = program.run("audit", "verify", secure.data, "626b")
    assert result.returncode == 2 and "hexadecimal" in result.stderr and "SOUND" not in result.stdout, result


def test_an_import_says_what_is_missing():
    where = program.run("import", "rabbitmq", "amqp://guest:guest@127.0.0.1:1")
    assert where.returncode == 2 and "which queues?" in where.stderr, where
    other = program.run("import", "--queue", "q", "rabbitmq", "http://127.0.0.1:1")
    assert other.returncode == 2 and "expected amqp://" in other.stderr, other


def test_what_an_edited_file_holds_is_sent_as_it_is(secure, tmp_path):
    body = tmp_path / "body"
    receipt = secure.client.post("/v1/queues/jobs/messages", {"n": 1}).json["receipt"]
    here = ["--url", f"http://127.0.0.1:{secure.port}"]
    for content in [b"a\x00b\xff", b"", b"x" * 100_000]:
        body.write_bytes(content)
        result = program.run(*here, "queue", "edit", "jobs", receipt, body)
        assert result.returncode == 0, result
        assert secure.client.get(f"/v1/queues/jobs/messages/{receipt}?view=body").body == content
    missing = program.run(*here, "queue", "edit", "jobs", receipt, tmp_path / "none")
    assert missing.returncode == 1 and "No such file" in missing.stderr, missing
