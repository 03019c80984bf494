"""The audit: no action without its entry, no change to the file unnoticed, crashes at any point harmless."""
import hashlib
import json
import random
import shutil
import threading
import time

import pytest
from support import server as program
from support.tokens import Tokens
from support.wait import until


@pytest.fixture
def guarded(make_server):
    tokens = Tokens().add("ops", "admin").add("desk", "operate").add("shop", "publish")
    server = make_server({"tokens": tokens.entries, "queues": [{"name": "from-file"}]})
    server.client.token = tokens.secrets["ops"]
    server.start()
    return server, tokens


def file_of(server):
    return server.data / "audit" / "audit.log"


def entries(server):
    """All of GET /v1/audit, oldest first."""
    found, query = [], "page_size=3"
    while True:
        page = server.client.get(f"/v1/audit?{query}").json
        found += [item["entry"] for item in page["entries"]]
        if "nextPageToken" not in page:
            return found[::-1]
        query = f"page_size=3&page_token={page['nextPageToken']}"


def verify(server, *more):
    return program.run("audit", "verify", server.data, *more)


def act(server):
    """A few actions of each kind; what their entries should say."""
    root = server.client
    root.define("queues", "mail", paused=True)
    root.define("queues", "mail", paused=True, maxMessages=7)
    root.define("destinations", "sms", url="https://example.org/", headers={"Authorization": "Bearer hush-42"})
    root.define("stocks", "seats", total=5)
    root.define("campaigns", "spring", stock="seats", memberPointer="/member")
    message = root.publish("mail", {"n": 1}).json["receipt"]
    root.publish("mail", {"n": 2})
    assert root.delete(f"/v1/queues/mail/messages/{message}").status == 204
    for path in ("queues/mail:resume", "queues/mail:pause", "queues/mail:purge", "destinations/sms:pause",
                 "destinations/sms:resume"):
        assert root.post(f"/v1/{path}").status == 200
    assert root.delete("/v1/campaigns/spring").status == 204
    return [("define", "queues/mail", "created"), ("define", "queues/mail", "replaced"),
            ("define", "destinations/sms", "created"), ("define", "stocks/seats", "created"),
            ("define", "campaigns/spring", "created"), ("delete", f"queues/mail/messages/{message}", "deleted"),
            ("resume", "queues/mail", "resumed"), ("pause", "queues/mail", "paused"),
            ("purge", "queues/mail", "purged"), ("pause", "destinations/sms", "paused"),
            ("resume", "destinations/sms", "resumed"), ("delete", "campaigns/spring", "deleted")]


def test_each_action_has_its_entry(guarded):
    server, _ = guarded
    expected = act(server)
    found = entries(server)
    assert [(e["action"], e.get("resource")) for e in found[:2]] == [("start", None), ("define", "queues/from-file")]
    assert found[1]["actor"] == "configuration"
    assert [(e["action"], e["resource"], e["result"]) for e in found[2:]] == expected
    assert [e["number"] for e in found] == list(range(1, len(found) + 1))
    assert all(e["actor"].startswith("ops#") and e["address"].startswith("127.0.0.1:") for e in found[2:])
    assert found[10]["count"] == 1
    assert len({e.get("sha256") for e in found[2:4]}) == 2
    text = json.dumps(found) + server.output()
    assert "hush-42" not in text and server.client.token not in text


def test_who_may_read_it(guarded):
    server, tokens = guarded
    for name, status in (("ops", 200), ("desk", 403), ("shop", 403), ("nobody", 401)):
        assert tokens.client(server, name).get("/v1/audit").status == status, name


def test_what_changes_nothing_leaves_nothing(guarded):
    server, _ = guarded
    server.client.define("queues", "mail", paused=True)
    before = entries(server)
    server.client.define("queues", "mail", paused=True)
    server.client.post("/v1/queues/mail:pause")
    server.client.post("/v1/queues/mail:purge")
    assert server.client.post("/v1/queues/none:pause").status == 404
    assert server.client.post("/v1/queues", {"name": "mail"}).status == 409
    assert entries(server) == before


def test_the_file_has_it_all(guarded):
    """By the definition of the chain alone: SHA-256 over the hash before and the text."""
    server, _ = guarded
    act(server)
    found = entries(server)
    assert server.stop() == 0
    head, texts = bytes(32), []
    for line in file_of(server).read_text().splitlines():
        digest, text = line.split(" ", 1)
        head = hashlib.sha256(head + text.encode()).digest()
        assert digest == head.hex()
        texts.append(json.loads(text))
    assert texts == found
    result = verify(server)
    assert result.returncode == 0 and head.hex() in result.stdout, result
    assert f'head={head.hex()}' in server.output()
    assert [json.loads(line) for line in program.run("audit", "show", server.data).stdout.splitlines()] == found
    assert file_of(server).stat().st_mode & 0o777 == 0o600
    assert file_of(server).parent.stat().st_mode & 0o777 == 0o700


def test_it_is_written_while_it_runs(guarded):
    server, _ = guarded
    act(server)
    until(lambda: server.client.get("/v1/audit").json["written"] == len(entries(server)), 10, "all written")
    assert verify(server).returncode == 0
    server.kill()
    assert verify(server).returncode == 0
    server.start()
    assert verify(server).returncode == 0
    assert [e["action"] for e in entries(server)].count("start") == 2


CHANGES = {
    "flip": lambda lines: lines[:4] + [lines[4].replace("created", "crEated", 1)] + lines[5:],
    "flip in the last": lambda lines: lines[:-1] + [lines[-1][:-9] + "A" + lines[-1][-8:]],
    "flip in a hash": lambda lines: [lines[0].translate(str.maketrans("0123", "1230"), )[:64] + lines[0][64:]] + lines[1:],
    "delete": lambda lines: lines[:5] + lines[6:],
    "delete the first": lambda lines: lines[1:],
    "reorder": lambda lines: lines[:3] + [lines[4], lines[3]] + lines[5:],
    "put in": lambda lines: lines[:5] + [lines[2]] + lines[5:],
    "truncate": lambda lines: lines[:-2],
    "truncate to nothing": lambda lines: [],
    "chained anew": lambda lines: rechain([line.split(" ", 1)[1].replace("anonymous", "somebody") for line in lines]),
    "chained anew, and less": lambda lines: rechain([line.split(" ", 1)[1] for line in lines][:-3]),
}


def rechain(texts):
    head, lines = bytes(32), []
    for text in texts:
        head = hashlib.sha256(head + text.encode()).digest()
        lines.append(f"{head.hex()} {text}")
    return lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The data folder of a server that has acted and ended; by a kill, so that no snapshot is newer than the file."""
    server = program.Server(tmp_path_factory.mktemp("audit"))
    server.start()
    act(server)
    until(lambda: server.client.get("/v1/audit").json["written"] == len(entries(server)), 10, "all written")
    server.kill()
    return server


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stopped", [False, True], ids=["log", "snapshot"])
def test_changes_are_noticed(finished, tmp_path, change, stopped):
    server = program.Server(tmp_path)
    shutil.copytree(finished.data, server.data)
    if stopped:  # the log's own knowledge is then in a snapshot
        server.start()
        assert server.stop() == 0
    assert verify(server).returncode == 0
    path = file_of(server)
    lines = path.read_text().splitlines()
    changed = CHANGES[change](lines)
    assert changed != lines
    path.write_text("".join(line + "\n" for line in changed))
    result = verify(server)
    assert result.returncode == 1 and "NOT SOUND" in result.stdout, result
    try:  # the server starts, says it when it shows at the end, and does not cover it up
        server.start()
        if change.startswith("truncate"):
            until(lambda: "audit file ends with entry" in server.output(), 10, "a note")
        server.client.define("queues", "after", paused=True)
        time.sleep(0.6)
        assert verify(server).returncode == 1
    finally:
        server.kill()


def test_a_change_further_back_than_the_log_remembers(guarded):
    """Only the chain knows of it: the log has the latest entries, not these."""
    server, _ = guarded
    for turn in range(1100):
        assert server.client.post(f"/v1/queues/from-file:{'resume' if turn % 2 else 'pause'}").status == 200
    assert server.stop() == 0
    assert verify(server).returncode == 0
    lines = file_of(server).read_text().splitlines()
    assert len(lines) > 1100 and "127.0.0.1" in lines[4]
    lines[4] = lines[4].replace("127.0.0.1", "127.0.0.2")
    file_of(server).write_text("".join(line + "\n" for line in lines))
    changed = verify(server)
    assert changed.returncode == 1 and "line 5" in changed.stdout + changed.stderr, changed


def test_a_torn_line_is_no_damage(finished, tmp_path):
    """What a crash leaves of a line that was being written is cut off; the entry is still in the log."""
    server = program.Server(tmp_path)
    shutil.copytree(finished.data, server.data)
    server.start()
    assert server.stop() == 0
    whole = file_of(server).read_bytes()
    file_of(server).write_bytes(whole + whole[:100])
    assert verify(server).returncode == 0
    server.start()
    assert server.stop() == 0
    assert verify(server).returncode == 0 and file_of(server).read_bytes().startswith(whole)


def test_a_noted_head_finds_a_folder_made_anew(finished, tmp_path):
    """Against somebody who rewrites everything only what was noted elsewhere helps."""
    forged = program.Server(tmp_path)
    forged.start()
    act(forged)
    assert forged.stop() == 0
    assert verify(forged).returncode == 0
    noted = file_of(finished).read_text().splitlines()[3].split(" ")[0]
    assert verify(finished, noted).returncode == 0
    result = verify(forged, noted)
    assert result.returncode == 1 and "noted" in result.stdout, result


def test_killed_at_any_moment(make_server):
    """kill -9 under a stream of actions: what was answered has its entry, once, and the chain holds."""
    server = make_server({"log": {"segmentBytes": 65536, "snapshotEveryBytes": 1 << 20}})
    answered, names = [], iter(range(1_000_000))
    chance = random.Random(7)
    for number in range(8):
        server.start()
        stop = threading.Event()

        def work():
            while not stop.is_set():
                name = f"q{next(names)}"
                try:
                    if server.client.put(f"/v1/queues/{name}", {}).status == 201:
                        answered.append(name)
                except OSError:
                    return
                except Exception:  # a torn answer: not answered
                    return

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        time.sleep(chance.uniform(0.02, 0.6))
        until(lambda: len(answered) > 7 * (number + 1), what="some answers")
        server.kill()
        stop.set()
        for worker in workers:
            worker.join()
        result = verify(server)
        assert result.returncode == 0, result
    server.start()
    assert server.stop() == 0
    assert verify(server).returncode == 0
    shown = [json.loads(line) for line in program.run("audit", "show", server.data).stdout.splitlines()]
    assert [e["number"] for e in shown] == list(range(1, len(shown) + 1))
    made = [e["resource"].removeprefix("queues/") for e in shown if e["action"] == "define"]
    assert len(made) == len(set(made)) and set(answered) <= set(made)
    assert len(answered) > 50


def test_without_a_file_to_write_to_it_waits(make_server):
    """What cannot be written now is kept in the log, across a restart, and written later."""
    server = make_server()
    server.data.mkdir(mode=0o700)
    (server.data / "audit").write_text("in the way")
    server.start()
    server.client.define("queues", "mail", paused=True)
    until(lambda: "audit file cannot be written" in server.output(), 10, "a note")
    assert server.client.get("/v1/audit").json["written"] == 0
    server.kill()
    (server.data / "audit").unlink()
    server.start()
    until(lambda: server.client.get("/v1/audit").json["written"] >= 3, 20, "all written")
    assert verify(server).returncode == 0
