"""Tools for messages that wait or failed, through the program and its command line: search, edit, move, jobs; kill -9 in between."""
import json
import os
import pathlib
import re
import subprocess
import threading
import time

import pytest
from support.server import BINARY, run
from support.wait import until

MENDED = b'"country": "AT"'


def cli(server, *words, expect=0):
    done = run("--url", f"http://127.0.0.1:{server.port}", *words)
    assert done.returncode == expect, (words, done.stdout, done.stderr)
    return done


def stats(client, queue="mail"):
    return client.queue(queue)["stats"]


def define(client, provider, **queue):
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True)
    client.define("queues", "mail", destination="far", **queue)


def test_a_dead_letter_from_search_to_success(server, client, make_provider, tmp_path):
    provider = make_provider(lambda seen, times: 200 if MENDED in seen.body else 422)
    define(client, provider)
    receipts = {n: client.publish("mail", {"order": n, "country": None}).json["receipt"] for n in range(5)}
    until(lambda: stats(client)["dead"] == 5, 10, "dead letters")
    found = cli(server, "queue", "search", "mail", "--state", "dead", "--status", "422", "--since", "1h",
                "--pointer", "/order", "--equals", "3").stdout
    assert receipts[3] in found and not any(receipts[n] in found for n in (0, 1, 2, 4)), found
    nothing = cli(server, "queue", "search", "mail", "--status", "500")
    assert (nothing.stdout, nothing.stderr) == ("", "no messages\n")
    assert cli(server, "campaign", "list").stderr == "no campaigns\n"
    message = json.loads(cli(server, "queue", "message", "mail", receipts[3]).stdout)
    assert message["body"] == {"order": 3, "country": None}
    attempt, death = message["history"]
    assert (attempt["what"], attempt["destination"], attempt["status"], attempt["verdict"]) == ("attempt", "far", 422, "failed")
    assert (death["what"], death["reason"]) == ("died", "refused")

    body = tmp_path / "body"
    body.write_bytes(b'{"order": 3, ' + MENDED + b"}")
    cli(server, "queue", "edit", "mail", receipts[3], body, "--if-match", message["etag"])
    stale = cli(server, "queue", "edit", "mail", receipts[3], body, "--if-match", message["etag"], expect=1)
    assert "not as it was when you looked" in stale.stderr
    cli(server, "queue", "redrive", "mail", receipts[3])
    until(lambda: len(provider.effects) == 1, 10, "the mended one")
    sent = list(provider.effects.values())[0]
    assert sent.receipt == receipts[3] and sent.headers["Content-Type"] == "application/json"
    refused = [seen.key for seen in provider.seen if seen.receipt == receipts[3]][0]
    assert sent.key == refused + "-1", "what is remembered of the first body must not answer for the second"
    until(lambda: client.get(f"/v1/receipts/{receipts[3]}").json["state"] == "done", 10, "its receipt")
    assert stats(client)["dead"] == 4


def test_many_moved_and_discarded_by_what_they_say(server, client, make_provider):
    provider = make_provider(lambda seen, times: 422)
    define(client, provider)
    client.define("queues", "later")
    for n in range(40):
        client.publish("mail", {"n": n, "kind": "old" if n % 4 == 0 else "new"})
    until(lambda: stats(client)["dead"] == 40, 10, "dead letters")
    cli(server, "queue", "move", "mail", "later", "--pointer", "/kind", "--equals", "old")
    assert (stats(client)["dead"], stats(client, "later")["ready"]) == (30, 10)
    moved = client.get("/v1/queues/later/messages").json["messages"]
    history = client.get(f"/v1/queues/later/messages/{moved[0]['id']}").json["history"]
    assert (history[-1]["what"], history[-1]["from"]) == ("moved", "mail")
    told = cli(server, "queue", "discard", "mail", "--state", "any", "--why", "all", expect=1).stderr
    assert "ready, delayed, blocked or dead" in told, told
    assert "nothing to change" in cli(server, "queue", "edit", "mail", "r0000000000000140", expect=2).stderr
    assert "--why is needed" in cli(server, "queue", "discard", "mail", "--contains", "new", expect=2).stderr
    cli(server, "queue", "discard", "mail", "--contains", "new", "--why", "a test of the other side")
    assert stats(client)["dead"] == 0 and stats(client, "later")["ready"] == 10
    entries = [e["entry"] for e in client.get("/v1/audit").json["entries"]]
    finished, started = entries[0], entries[1]
    assert (finished["action"], finished["count"]) == ("finish", 30)
    assert (started["what"], started["reason"]) == ("discard", "a test of the other side")
    jobs = cli(server, "queue", "jobs", "mail").stdout.splitlines()
    assert len(jobs) == 3 and "discard" in jobs[1] and "move" in jobs[2]


def test_a_paced_redrive_goes_on_after_kills(server, client, make_provider):
    """Nothing is lost, nothing redriven twice, and the pace holds over each restart."""
    accepting = threading.Event()
    provider = make_provider(lambda seen, times: 200 if accepting.is_set() else 422)
    define(client, provider)
    receipts = {client.publish("mail", {"n": n}).json["receipt"] for n in range(300)}
    until(lambda: stats(client)["dead"] == 300, 20, "dead letters")
    accepting.set()
    begun = time.monotonic()
    job = cli(server, "queue", "redrive", "mail", "--status", "422", "--rate", "30", "--detach").stdout.strip()
    path = f"/v1/queues/mail/jobs/{job}"
    told = [(begun, 0, begun)]  # asked, the number, heard: when it was that lies between the two
    for _ in range(4):
        time.sleep(0.2)
        server.kill()
        server.start()
        for _ in range(2):
            told.append((time.monotonic(), client.get(path).json["done"], time.monotonic()))
    assert told[1][1] < 300, "the first kill was in the middle of ten seconds"
    until(lambda: client.get(path).json["status"] == "done", 30, "the end of the job")
    until(lambda: stats(client)["completed"] >= 300 or len(provider.effects) == 300, 20, "all of them")
    state = client.get(path).json
    assert (state["done"], state["failed"], state["total"]) == (300, 0, 300)
    assert {seen.receipt for seen in provider.effects.values()} == receipts
    until(lambda: stats(client)["dead"] == 0 and stats(client)["ready"] == 0, 10, "nothing left")
    # 30 a second, and what one step may have at once
    for (asked, before, _), (_, after, heard) in zip(told, told[1:]):
        assert after - before <= 30 * (heard - asked) + 15, told


def test_a_cancelled_job_stops(server, client, make_provider):
    provider = make_provider(lambda seen, times: 422)
    define(client, provider)
    for n in range(100):
        client.publish("mail", {"n": n})
    until(lambda: stats(client)["dead"] == 100, 10, "dead letters")
    job = client.post("/v1/queues/mail/jobs", {"action": "discard", "perSecond": 5, "reason": "x"})
    assert job.status == 202 and job.headers["Location"].endswith(job.json["id"])
    until(lambda: client.get(job.headers["Location"]).json["done"] >= 2, 10, "some")
    cli(server, "queue", "cancel", "mail", job.json["id"])
    dead = stats(client)["dead"]
    time.sleep(0.5)
    assert stats(client)["dead"] == dead > 10
    assert client.get(job.headers["Location"]).json["status"] == "cancelled"


def test_progress_is_never_more_than_all(server, client, make_provider):
    """Those that come, or die again, while a job goes through them are looked at too: "9 of 7" says nothing."""
    provider = make_provider(lambda seen, times: 422)
    define(client, provider)
    for n in range(7):
        assert client.publish("mail", {"n": n}).status == 202
    until(lambda: stats(client)["dead"] == 7, 10, "dead letters")
    job = client.post("/v1/queues/mail/jobs", {"action": "redrive", "perSecond": 10}).json
    assert job["total"] == 7
    shown = []
    while not shown or shown[-1]["status"] == "running":
        shown.append(client.get(f"/v1/queues/mail/jobs/{job['id']}").json)
        time.sleep(0.02)
    assert shown[-1]["status"] == "done" and shown[-1]["done"] == 7 and shown[-1]["searched"] >= 7, shown[-1]
    assert all(one["searched"] <= one["total"] for one in shown), shown[-1]


@pytest.mark.parametrize("body", [
    {"action": "fly"}, {"action": "move"}, {"action": "discard"}, {"action": "redrive", "to": "mail"}, {},
    {"action": "redrive", "perSecond": 0}, {"action": "redrive", "filter": {"state": "ready"}},
    {"action": "redrive", "filter": {"stat": "dead"}}, {"action": "move", "to": "mail"},
    {"action": "discard", "reason": "x", "filter": {"state": "in-flight"}}])
def test_what_is_no_job(client, body):
    client.define("queues", "mail")
    reply = client.post("/v1/queues/mail/jobs", body)
    assert reply.status == 400, reply


def test_usage(server):
    assert "usage: sluice queue search NAME" in cli(server, "queue", "search", expect=2).stderr
    assert "--since" in cli(server, "queue", "search", "mail", "--since", "soon", expect=2).stderr
    assert "needs no filter" in cli(server, "queue", "redrive", "mail", "r0000000000000001", "--status", "1", expect=2).stderr
    assert "--rate" in cli(server, "queue", "redrive", "mail", "--rate", "fast", expect=2).stderr
    assert "There is no such resource" in cli(server, "queue", "search", "none", expect=1).stderr
    assert "queue redrive NAME [ID | which]" in cli(server, "help").stdout


def test_the_guide_says_the_truth(server, client, make_provider, tmp_path):
    """Every command of docs/guide/dead-letters.md, in its order, on a queue as it describes."""
    guide = (pathlib.Path(__file__).resolve().parents[2] / "docs/guide/dead-letters.md").read_text()
    accepting = threading.Event()
    statuses = {0: 422, 1: 503, 2: 503}
    provider = make_provider(lambda seen, times: 200 if accepting.is_set() else statuses.get(seen.json.get("n", 0) % 3, 422))
    define(client, provider, retryConfig={"maxAttempts": 1})
    client.define("queues", "later", paused=True)
    receipts = [client.publish("mail", {"n": n, "order": 17, "country": "AT"}).json["receipt"] for n in range(12)]
    until(lambda: stats(client)["dead"] == 12, 10, "dead letters")
    (tmp_path / "mended.json").write_text('{"n": 0, "mended": true}')
    environment = {**os.environ, "SLUICE_URL": f"http://127.0.0.1:{server.port}",
                   "PATH": f"{pathlib.Path(BINARY).parent}:{os.environ['PATH']}"}
    blocks = re.findall(r"```sh\n(.*?)```", guide, re.S)
    assert len(blocks) == 5
    said = []
    for number, block in enumerate(blocks):
        accepting.set() if number == 1 else accepting.clear()
        if number > 1:  # what was redriven is done: another one dies
            dead = client.publish("mail", {"n": 0, "kind": "old" if number == 3 else "new", "test": 1}).json["receipt"]
            client.publish("mail", {"n": 0, "kind": "old", "is": "a test"})
            until(lambda: stats(client)["ready"] + stats(client)["inFlight"] == 0, 10, "deaths")
        for line in block.splitlines():
            line = line.replace("localhost:8080", f"127.0.0.1:{server.port}")
            line = line.replace("r000000000000a440", receipts[0] if number < 2 else dead)
            done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said.append(done.stdout)
            if "redrive" in line:
                until(lambda: stats(client)["ready"] + stats(client)["inFlight"] == 0, what="the end of what was redriven")
    assert said[1].count("\n") == 13 and said[2].count("422") == 4 and said[3].count("\n") == 13
    assert {seen.receipt for seen in provider.effects.values()} == set(receipts)
    assert any(b"mended" in seen.body and seen.key.endswith("-2") for seen in provider.seen), "edited twice"
    assert stats(client, "later")["ready"] == 3 and '"sent by a test"' in said[-1]
