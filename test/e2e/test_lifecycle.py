"""Starting, stopping, what a second server is told, a full disk, definitions at run time and in the file."""
import http.client
import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from support import server as program
from support.certificates import Authority, openssl
from support.wait import until


def test_start_stop_start_keeps_everything(server):
    client = server.client
    client.define("stocks", "units", total=3)
    client.define("queues", "mail")
    client.reserve("units", "p-1", "ann")
    message = client.publish("mail", {"to": "ann"}).json["receipt"]
    assert server.stop() == 0
    server.start()
    assert client.stock("units")["stats"]["used"] == 1
    assert [m["id"] for m in client.get("/v1/queues/mail/messages").json["messages"]] == [message]


def hold_start(server):
    """A start that goes on when somebody opens its snapshot for writing: a pipe, whose path this is."""
    assert server.stop() == 0
    newest = max((server.data / "snapshot").glob("*.snap"))
    newest.unlink()
    os.mkfifo(newest)
    server.launch()
    until(lambda: 'event=starting step="reading the snapshot"' in server.output(), what="a line in the log")
    return newest


def test_a_long_start_says_how_far_it_is(server):
    server.client.define("queues", "mail", paused=True)
    server.client.publish("mail", {})
    pipe = hold_start(server)
    ready = server.client.get("/readyz")
    assert ready.status == 503 and ready.json["reasons"] == ["starting"]
    assert ready.json["starting"] == {"step": "reading the snapshot", "done": 0, "of": 0}
    assert server.client.get("/healthz").status == 200, "nobody has to start it again"
    other = server.client.get("/v1/queues")
    assert other.status == 503 and other.json["type"] == "/problems/busy" and other.headers["Retry-After"] == "1"
    pipe.open("wb").close()
    server.wait_for("/readyz")
    assert server.client.queue("mail")["stats"]["ready"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_a_start_up(server, number):
    """In any step of it: this one would never end."""
    server.client.define("queues", "mail", paused=True)
    server.client.publish("mail", {})
    pipe = hold_start(server)
    server.process.send_signal(signal.SIGHUP)
    server.process.send_signal(number)
    assert server.wait_end() == 0
    assert "the start is given up" in server.output()
    pipe.unlink()
    server.start()
    assert server.client.queue("mail")["stats"]["ready"] == 1


def test_sigterm_under_load_answers_what_it_took(server):
    """Each request is either answered, or its connection was refused or closed before it was taken."""
    server.client.define("stocks", "units", total=10**6)
    accepted, faults, stopped = [], [], threading.Event()

    def call(number):
        client = program.Client(server.port)
        for turn in range(10**6):
            if stopped.is_set():
                return
            try:
                reply = client.reserve("units", f"{number}-{turn}", "m")
            except (OSError, http.client.HTTPException):
                client.close()
                return
            if reply.status == 201:
                accepted.append(f"{number}-{turn}")
            elif reply.status != 503:
                faults.append(reply)

    callers = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: len(accepted) > 200, 10, "some load")
    assert server.stop() == 0
    stopped.set()
    for caller in callers:
        caller.join()
    assert not faults
    server.start()
    used = server.client.stock("units")["stats"]["used"]
    assert used >= len(accepted), "an answer was given for something that is not there"
    # A stop is no crash: at most the requests whose answers met a closing connection were not heard.
    assert used - len(accepted) <= len(callers)


@pytest.mark.parametrize("limits", [{"maxDispatchesPerSecond": 500}, {"maxDispatchesPerSecond": 500, "mode": "strict"}])
def test_a_stop_leaves_no_attempt_unknown(server, make_provider, limits):
    """What was decided leaves and ends in the grace, and nothing else is decided: nobody is asked twice, no try is lost."""
    provider = make_provider(delay=0.5)
    server.client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, rateLimits=limits)
    server.client.define("queues", "mail", destination="far", paused=True)
    for n in range(1200):
        server.client.publish("mail", {"n": n})
    server.client.post("/v1/queues/mail:resume")
    until(lambda: len(provider.seen) > 100, 60, "a stream of attempts")
    assert server.stop() == 0
    sent = len(provider.seen)
    assert sent < 1200
    server.start()
    until(lambda: server.client.queue("mail")["stats"]["completed"] == 1200, 60, "all")
    assert len(provider.seen) == 1200
    assert {seen.headers["Sluice-Attempt"] for seen in provider.seen} == {"1"}


def test_stop_takes_a_snapshot(server):
    server.client.define("queues", "mail")
    assert server.stop() == 0
    assert any((server.data / "snapshot").iterdir())


def test_second_server_on_the_same_folder_is_refused(server, make_server):
    second = make_server()
    second.data = server.data
    second.launch()
    assert second.wait_end() != 0
    assert "in use" in second.output() or "another" in second.output(), second.output()
    assert server.client.get("/readyz").status == 200


def test_listener_that_is_taken(make_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = make_server({"listeners": [{"host": "127.0.0.1", "port": port}]})
        server.launch()
        assert server.wait_end() != 0
        assert str(port) in server.output()


def test_a_second_server_on_the_same_address_is_refused(server, make_server):
    """Each listens with SO_REUSEPORT for its own threads: without care the two would share the connections."""
    second = make_server({"listeners": [{"host": "127.0.0.1", "port": server.port}]})
    second.launch()
    assert second.wait_end() != 0
    assert str(server.port) in second.output()


def test_of_servers_that_start_together_on_one_address_one_serves(make_server):
    """All of them may find the port free when they look first."""
    port = program.free_port()
    servers = [make_server({"listeners": [{"host": "127.0.0.1", "port": port}], "ioThreads": 2}) for _ in range(4)]
    for server in servers:
        server.launch()

    def ended():
        return [server for server in servers if server.process.poll() is not None]

    until(lambda: len(ended()) == len(servers) - 1, 60, "the end of all but one")
    refused = ended()
    serving = next(server for server in servers if server not in refused)
    assert all(server.wait_end() != 0 and str(port) in server.output() for server in refused)
    until(lambda: "event=serving" in serving.output(), 60, "the one that is left")
    assert serving.process.poll() is None


def test_full_disk_refuses_growth_and_goes_on_by_itself(make_server):
    """Pretended by asking for more free room than the disk has; a restart with less asks for none."""
    server = make_server().start()
    client = server.client
    client.define("queues", "mail")
    client.define("stocks", "units", total=10)
    message = client.publish("mail", {"n": 1}).json["receipt"]
    assert server.stop() == 0

    server.configure({"log": {"minFreeBytes": 1 << 49}})
    server.launch()
    server.wait_for("/healthz")
    refused = client.publish("mail", {"n": 2})
    assert (refused.status, refused.problem) == (507, "disk-full")
    assert client.get("/readyz").status == 503
    status = program.run("--url", f"http://127.0.0.1:{server.port}", "status")
    assert (status.returncode, status.stderr.strip()) == (1, "sluice: not accepting: disk-full")
    # Reading and consuming go on.
    assert client.get(f"/v1/queues/mail/messages/{message}").status == 200
    assert client.delete(f"/v1/queues/mail/messages/{message}").status < 300
    assert server.stop() == 0

    server.configure({"log": {"minFreeBytes": 0}})
    server.start()
    assert client.publish("mail", {"n": 3}).status == 202
    assert client.queue("mail")["stats"]["ready"] == 1


def test_file_definitions_are_applied_and_changes_at_run_time_win(make_server):
    """A change at run time holds over restarts, until the file says something else than it said before."""
    server = make_server({"queues": [{"name": "mail", "maxMessages": 10}]})
    server.start()
    client = server.client
    assert client.queue("mail")["maxMessages"] == 10
    client.define("queues", "mail", maxMessages=20)
    server.restart()
    assert client.queue("mail")["maxMessages"] == 20, "the file did not change: the change at run time holds"
    server.configure({"queues": [{"name": "mail", "maxMessages": 30}]})
    server.restart()
    assert client.queue("mail")["maxMessages"] == 30, "the file changed: it holds"


def test_a_file_that_would_lower_a_total_on_sale_is_refused(make_server):
    server = make_server({"stocks": [{"name": "units", "total": 10, "onSale": True}]})
    server.start()
    assert server.stop() == 0
    server.configure({"stocks": [{"name": "units", "total": 5, "onSale": True}]})
    server.launch()
    assert server.wait_end() != 0
    assert "units" in server.output() and "total" in server.output(), server.output()
    server.configure({"stocks": [{"name": "units", "total": 12, "onSale": True}]})
    server.start()
    assert server.client.stock("units")["total"] == 12


def test_config_check_names_line_and_expectation(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text("queues:\n  - name: mail\n    maxMessages: many\n")
    result = program.run("config", "check", path)
    assert result.returncode != 0
    assert "sluice.yaml:3" in result.stdout + result.stderr, result


def test_config_check_opens_certificates_and_keys(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    _, other_key = authority.sign("other")
    curve_key = tmp_path / "curve.pem"
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", curve_key)
    (tmp_path / "text.pem").write_text("no certificate")
    locked = tmp_path / "locked.pem"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)

    junk = tmp_path / "junk.pem"
    junk.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")

    def check(certificate, key, code=2):
        path = tmp_path / "sluice.yaml"
        path.write_text(f"listeners:\n  - port: 0\n    tls:\n      certificate: {certificate}\n      key: {key}\n")
        result = program.run("config", "check", path)
        assert result.returncode == code and result.stdout == ("" if code else f"{path}: ok\n"), result
        return result.stderr

    assert check(certificate, key, code=0) == ""
    for name, place, wrong in (("gone.pem", "certificate", "No such file"), ("text.pem", "certificate", "there is no certificate in this file"),
                               (key.name, "certificate", "holds a private key, and no certificate"), ("none.pem", "key", "No such file"),
                               ("text.pem", "key", "there is no private key in this file"), ("junk.pem", "key", "the private key in it is damaged"),
                               (certificate.name, "key", "holds a certificate, and no private key"), ("locked.pem", "key", "it has a passphrase"),
                               (other_key.name, "key", "it does not belong"), ("curve.pem", "key", "it does not belong")):
        line, files = (4, (tmp_path / name, key)) if place == "certificate" else (5, (certificate, tmp_path / name))
        told = check(*files)
        assert told.startswith(f"{tmp_path}/sluice.yaml:{line}:7: /listeners/0/tls/{place}: {tmp_path / name}: {wrong}"), told
        assert told.count("\n") == 1, told
    swapped = check(key, certificate)
    assert "tls/certificate: " in swapped and "tls/key: " in swapped and swapped.count("holds a") == 2, swapped


def test_a_certificate_that_is_out_of_date_is_named_with_its_date(tmp_path):
    """It is served all the same: a server that cannot restart is worse than one whose clients complain."""
    authority = Authority(tmp_path)
    cases = (("old", ("20240102030405Z", "20250102030405Z"), "the certificate expired on 2025-01-02T03:04:05Z"),
             ("new", ("20980102030405Z", "20990102030405Z"), "the certificate is not valid before 2098-01-02T03:04:05Z"),
             ("good", None, ""))
    for name, dates, words in cases:
        certificate, key = authority.sign(name, dates=dates)
        server = program.Server(tmp_path / f"server-{name}")
        server.configure({"listeners": [{"port": server.port}, {"port": program.free_port(), "tls": {"certificate": str(certificate), "key": str(key)}}]})
        checked = program.run("config", "check", server.config_path)
        assert checked.returncode == 0 and checked.stdout.endswith(": ok\n"), checked
        assert ("warning: " in checked.stderr and words in checked.stderr) if words else checked.stderr == "", checked
        server.start()
        assert ("a certificate that clients refuse" in server.output()) == bool(words), server.output()
        server.stop()


def test_version_and_help():
    assert program.run("version").stdout.startswith("sluice 0.")
    assert program.run("help").returncode == 0
    assert program.run("nonsense").returncode == 2


def test_command_line_calls_the_server(server):
    url = f"http://127.0.0.1:{server.port}"
    definition = server.folder / "queue.json"
    definition.write_text(json.dumps({"maxMessages": 7}))
    assert program.run("--url", url, "queue", "define", "mail", definition).returncode == 0
    listed = program.run("--url", url, "queue", "list")
    assert listed.returncode == 0 and "mail" in listed.stdout
    assert program.run("--url", url, "status").returncode == 0
    definition.write_text(json.dumps({"maxMessages": 8}) + " " * (17 << 20))
    large = program.run("--url", url, "queue", "define", "mail", definition)
    assert large.returncode == 1 and "larger than 16 MiB" in large.stderr
    assert json.loads(program.run("--url", url, "queue", "show", "mail").stdout)["maxMessages"] == 7
    missing = program.run("--url", url, "queue", "show", "nothing")
    assert missing.returncode == 1 and missing.stderr


def test_top_shows_the_server_without_a_terminal(server):
    """Then it prints a line now and again instead of drawing."""
    server.client.define("queues", "mail")
    top = subprocess.Popen([program.BINARY, "top", "--url", f"http://127.0.0.1:{server.port}"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert top.stdout.readline().strip()
    finally:
        top.send_signal(signal.SIGINT)
        assert top.wait(60) == 0


def test_restart_is_quick_with_a_backlog(server):
    client = server.client
    client.define("queues", "mail")
    for n in range(500):
        assert client.publish("mail", {"n": n}).status == 202
    server.kill()
    server.start()
    assert server.cpu_s() < 2 * program.SLOW, "bench/restart.c measures how quick; this is many times that"
    assert client.queue("mail")["stats"]["ready"] == 500
