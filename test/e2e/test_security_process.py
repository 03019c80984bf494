"""The program as built and as it runs: guards of compiler and linker, what the process gave up, its files, its unit."""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import time

import pytest
from support import server as program
from support.tokens import Tokens
from support.wait import until

BINARY = program.BINARY
ROOT = pathlib.Path(__file__).resolve().parents[2]
sanitized = pytest.mark.skipif(bool(os.environ.get("SLUICE_SANITIZED")), reason="sanitizers need what is given up")


def readelf(*flags):
    return subprocess.run(["readelf", "-W", *flags, BINARY], capture_output=True, text=True, check=True).stdout


@sanitized
def test_built_with_guards():
    assert re.search(r"Type:\s+DYN", readelf("-h"))
    dynamic = readelf("-d")
    assert "BIND_NOW" in dynamic and re.search(r"FLAGS_1.*NOW.*PIE", dynamic)
    segments = readelf("-l")
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK.*\bRW\b ", segments) and not re.search(r"GNU_STACK.*RWE", segments)
    assert not re.search(r"LOAD.*\bRWE\b", segments), "nothing is both writable and executable"
    symbols = readelf("--dyn-syms")
    assert "__stack_chk_fail" in symbols
    assert len(re.findall(r"__\w+_chk@", symbols)) >= 4, "checked string functions"
    if "X86-64" in readelf("-h"):
        assert pathlib.Path(BINARY).read_bytes().count(b"\xf3\x0f\x1e\xfa") > 500, "landing marks of -fcf-protection"
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


def status_of(pid, thread=None):
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    return dict(line.split(":\t", 1) for line in pathlib.Path(path).read_text().splitlines() if ":\t" in line)


@sanitized
def test_every_thread_gave_up_its_rights(server):
    pid = server.process.pid
    threads = os.listdir(f"/proc/{pid}/task")
    assert len(threads) > 3
    for thread in threads:
        fields = status_of(pid, thread)
        assert fields["NoNewPrivs"].strip() == "1", fields["Name"]
        assert fields["Seccomp"].strip() == "2", fields["Name"]
        assert fields["Umask"].strip() == "0077"
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    assert "system calls" not in server.output()


@sanitized
def test_snapshots_and_names_work_behind_the_filter(make_server, make_provider):
    """A forked child writes the snapshot, and curl's threads look up a name."""
    provider = make_provider()
    server = make_server({"log": {"snapshotEveryBytes": 1 << 20}}).start()
    client = server.client
    client.define("destinations", "here", url=provider.url.replace("127.0.0.1", "localhost"), allowPrivateAddresses=True)
    client.define("queues", "mail", destination="here")
    assert client.publish("mail", {"n": 1}).status == 202
    until(lambda: client.queue("mail")["stats"]["completed"] == 1, 15, "a delivery by name")
    client.define("queues", "bulk")
    for n in range(30):
        assert client.publish("bulk", "x" * 100_000).status == 202
    until(lambda: list((server.data / "snapshot").glob("*.snap")), 15, "a snapshot")
    assert server.stop() == 0


@sanitized
def test_the_filter_can_be_left_out(make_server):
    server = make_server({"systemCallFilter": False, "coreDumps": True}).start()
    fields = status_of(server.process.pid)
    assert fields["Seccomp"].strip() == "0" and fields["NoNewPrivs"].strip() == "1"


def test_files_are_for_the_owner_alone(make_server):
    server = make_server({"log": {"snapshotEveryBytes": 1 << 20}})
    before = os.umask(0)
    try:
        server.start()
    finally:
        os.umask(before)
    server.client.define("queues", "mail")
    for n in range(12):
        server.client.publish("mail", "x" * 100_000)
    until(lambda: list((server.data / "snapshot").glob("*.snap")), 15, "a snapshot")
    server.kill()  # nothing comes and goes any more
    looked_at = 0
    for path in [server.data, *server.data.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))
        looked_at += 1
    assert looked_at > 6


def test_an_open_folder_is_closed(make_server):
    server = make_server()
    server.data.mkdir(parents=True)
    server.data.chmod(0o755)
    server.start()
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert "was open to others" in server.output()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_becomes_another_user(make_server, tmp_path):
    import pwd
    nobody = pwd.getpwnam("nobody")
    for folder in (tmp_path, *tmp_path.parents):
        if folder != pathlib.Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    server = make_server({"user": "nobody"}).start()
    fields = status_of(server.process.pid)
    assert set(fields["Uid"].split()) == {str(nobody.pw_uid)} and set(fields["Gid"].split()) == {str(nobody.pw_gid)}
    assert fields["Groups"].strip() == ""
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"):
        assert int(fields[kind], 16) == 0, kind
    assert server.data.stat().st_uid == nobody.pw_uid
    assert "running as root" not in server.output()
    server.client.define("queues", "mail")
    assert server.client.publish("mail", {"n": 1}).status == 202
    assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told")
def test_root_is_told(server):
    assert "running as root" in server.output()


def test_an_unknown_user_ends_the_start(make_server):
    server = make_server({"user": "no-such-user-here"})
    server.launch()
    assert server.wait_end() == 1
    assert "no-such-user-here" in server.output()


def test_the_unit_is_closed():
    """What systemd itself says of the example unit: 0 is closed, 10 is open."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = ROOT / "packaging" / "sluice.service"
    result = subprocess.run(["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True,
                            text=True, check=False, env={**os.environ, "SYSTEMD_PAGER": "cat", "COLUMNS": "200"})
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze does not look at files here: {result.stderr}")
    assert float(found[1]) <= 1.2, result.stdout


def test_secrets_appear_nowhere(make_server, make_provider):
    """Planted secrets, in every place that takes one; then everything that the program says is looked through."""
    token_client = Tokens().add("ops", "admin")
    secrets = {"token": token_client.secrets["ops"], "file": "hush-file-9981", "api": "hush-api-9982",
               "body": "hush-body-9983", "url": "hush-url-9984"}
    provider = make_provider()
    server = make_server({
        "tokens": token_client.entries, "logging": {"level": "debug"},
        "destinations": [{"name": "filed", "url": provider.url, "headers": {"Authorization": "Bearer hush-file-9981"}}]})
    client = server.client
    client.token = secrets["token"]
    server.start()
    client.define("destinations", "sms", url=provider.url, headers={"X-Key": secrets["api"]})
    client.define("queues", "mail", destination="sms", retryConfig={"maxAttempts": 1})
    said = []
    for path in ("/v1/destinations", "/v1/destinations/sms", "/v1/destinations/filed", "/v1/queues", "/metrics",
                 "/v1/audit", "/readyz", "/openapi.json", "/v1/receipts/r0000000000000000"):
        said.append(client.get(path).body.decode())
    client.publish("mail", {"secret": secrets["body"]})
    until(lambda: client.queue("mail")["stats"]["dead"] == 1, 10, "a refusal")
    bad = {"url": "nothing://" + secrets["url"], "headers": {"X": secrets["api"], "Bad Name": secrets["api"]}}
    said.append(client.put("/v1/destinations/bad", bad).body.decode())
    said.append(client.put("/v1/destinations/bad", {"headers": "X: " + secrets["api"]}).body.decode())
    environment = {**os.environ, "SLUICE_URL": f"http://127.0.0.1:{server.port}", "SLUICE_TOKEN": secrets["token"]}
    for command in (["status"], ["queue", "list"], ["destination", "list"], ["--json", "destination", "list"]):
        result = program.run(*command, env=environment)
        said += [result.stdout, result.stderr]
    said.append(pathlib.Path(f"/proc/{server.process.pid}/cmdline").read_bytes().decode())
    server.kill()
    said.append(server.output())
    everything = "\n".join(said).replace("nothing://" + secrets["url"], "", 1)  # what was sent is quoted to its sender
    for name, secret in secrets.items():
        if name not in ("url",):
            assert secret not in everything, name
    assert secrets["body"] not in server.output()


def test_errors_of_the_configuration_tell_no_secret(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text("""
tokens:
  - {name: a, hash: "slc_00000000_hushhushhushhushhushhushhushhushhushhushhus", scopes: [admin]}
destinations:
  - {name: sms, url: "http://x/", headers: {"Authorization": ["hush-1"], "X Y": "hush-2", "Z": 7}}
  - {name: fax, url: "http://x/", headers: "hush-3"}
""")
    result = program.run("config", "check", path)
    assert result.returncode == 2
    assert "hush" not in result.stdout + result.stderr, result
