"""kill -9 in each phase of an attempt. What the provider did is the ledger: after the restart each message arrives with
the key it had before, has its effect once, and one whose end was on disk is not sent again."""
import json
import select
import socket
import threading
import time

import pytest
from support.crowd import in_parallel
from support.wait import until

BODY = {"text": "x" * 300_000}
SEVERAL = 5


class Stage:
    """A provider that plays one scene with the first request, stops there until told to go on, and answers all others."""

    def __init__(self, scene):
        self.scene, self.reached, self.over = scene, threading.Event(), threading.Event()
        self.effects, self.requests = set(), []  # one effect a key, as a provider that knows keys has it
        self.bodies = []
        self.lock = threading.Lock()
        self.connections = 0  # accepted and not yet at their end
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.accepting = threading.Event()
        if scene != "connected":
            self.accepting.set()
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/"

    def serve(self):
        while True:
            self.accepting.wait()
            try:
                select.select([self.listener], [], [])
                with self.lock:
                    connection, _ = self.listener.accept()
                    self.connections += 1
            except (OSError, ValueError):
                return
            threading.Thread(target=self.play, args=(connection,), daemon=True).start()

    def play(self, connection):
        with connection:
            try:
                while self.one(connection):
                    pass
            except OSError:
                pass  # the server was killed
        with self.lock:
            self.connections -= 1

    def read_to_the_end(self):
        """Waits until all that a killed server had sent is counted: the kernel keeps it until it has been read."""
        def ended():
            with self.lock:
                return not self.connections and not select.select([self.listener], [], [], 0)[0]
        until(ended, 15, "the end of what was sent")

    def stop_here(self):
        self.reached.set()
        self.over.wait(60)

    def one(self, connection):
        first = not self.reached.is_set()
        scene = self.scene if first or self.scene == "some refused" else "good"
        head, rest = b"", b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(4096)
            if not piece:
                return False
            head += piece
        if scene == "asked in part":
            self.stop_here()
            return False
        head, rest = head.split(b"\r\n\r\n", 1)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        while len(rest) < int(fields.get("Content-Length", 0)):
            piece = connection.recv(65536)
            if not piece:
                return False
            rest += piece
        key = fields["Idempotency-Key"]
        with self.lock:
            self.requests.append(fields)
            self.bodies.append(rest)
            if scene != "refused for now":
                self.effects.add(key)
        good = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
        if scene == "asked":
            self.stop_here()
        elif scene == "answered in part":
            connection.sendall(good[:25])
            self.stop_here()
        elif scene == "answered but for the end of the body":
            connection.sendall(good[:-3])
            self.stop_here()
        elif scene == "refused for now":
            connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
            self.reached.set()
            return True
        elif scene == "some refused":
            statuses = [{"status": 503 if first and item["n"] % 3 == 0 else 200} for item in json.loads(rest)]
            text = json.dumps(statuses).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            self.reached.set()
            return True
        elif scene == "one of many":
            self.reached.set()
            connection.sendall(good)
            return True
        else:
            connection.sendall(good)
            self.reached.set()
            return True
        return False

    def keys(self):
        with self.lock:
            return [fields["Idempotency-Key"] for fields in self.requests]

    def close(self):
        self.over.set()
        self.accepting.set()
        self.listener.close()


def begin(make_server, scene, backoff="0.2s", **more):
    stage, server = Stage(scene), make_server().start()
    server.client.define("destinations", "far", url=stage.url, allowPrivateAddresses=True, **more)
    server.client.define("queues", "jobs", destination="far",
                         retryConfig={"backoffs": [backoff]})
    return stage, server


def completed(server, count):
    return until(lambda: server.client.queue("jobs")["stats"]["completed"] == count, 15, f"{count} completed")


# The scene, and how often the one message may be asked for in all.
SCENES = {
    "connected": (1, 1),  # the connection waits in the kernel, which read what was sent; nobody acted on it
    "asked in part": (1, 1),
    "asked": (2, 2),
    "answered in part": (2, 2),
    "answered but for the end of the body": (2, 2),
    "answered": (1, 2),  # whether the end was on disk is a matter of milliseconds
}


def the_scene(stage, server, scene):
    """Kills the server in the middle of it; how often it asked, before and after."""
    if scene == "connected":
        assert select.select([stage.listener], [], [], 60)[0], "the attempt"
    else:
        assert stage.reached.wait(60), "the provider was not asked"
    server.kill()
    if scene == "connected":  # what waits there is of a dead process: it is thrown away
        stage.listener.accept()[0].close()
        stage.accepting.set()
    stage.over.set()
    server.start()
    least, most = SCENES[scene]
    until(lambda: len(stage.keys()) >= least, 15, "the message again")
    until(lambda: server.client.queue("jobs")["stats"]["inFlight"] == 0 and
          server.client.queue("jobs")["stats"]["ready"] == 0, 15, "its end")
    keys = stage.keys()
    assert least <= len(keys) <= most, keys
    assert len(set(keys)) == 1 and len(stage.effects) == 1, "the same key, one effect"
    assert server.client.queue("jobs")["stats"]["dead"] == 0


@pytest.mark.parametrize("scene", SCENES)
def test_one_attempt(make_server, scene):
    stage, server = begin(make_server, scene)
    try:
        assert server.client.publish("jobs", BODY).status == 202
        the_scene(stage, server, scene)
    finally:
        stage.close()


@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene != "answered"])  # of that one, a part may be on disk
def test_one_request_of_several_messages(make_server, scene):
    """None is lost, none is alone: all of them come again, in their order, so the request has the key it had."""
    stage, server = begin(make_server, scene, batch={"maxMessages": SEVERAL, "maxWait": "60s"})
    try:
        for number in range(SEVERAL):
            assert server.client.publish("jobs", {"n": number, "text": "x" * 60_000}).status == 202
        the_scene(stage, server, scene)
        assert server.client.queue("jobs")["stats"]["published"] == SEVERAL
        for body in stage.bodies:
            assert [item["n"] for item in json.loads(body)] == list(range(SEVERAL))
    finally:
        stage.close()


def test_some_results_of_a_request_on_disk(make_server):
    """What ended is not sent again, although others of its request are; killed between its end and theirs."""
    stage, server = begin(make_server, "some refused", backoff="8s",
                          batch={"maxMessages": SEVERAL, "maxWait": "0.2s", "results": {"split": True}})
    try:
        server.client.post("/v1/queues/jobs:pause")
        for number in range(SEVERAL):
            server.client.publish("jobs", {"n": number})
        server.client.post("/v1/queues/jobs:resume")
        until(lambda: server.client.queue("jobs")["stats"]["delayed"] == 2, 10, "those that were refused")
        completed(server, SEVERAL - 2)
        server.kill()
        server.start()
        until(lambda: server.client.queue("jobs")["stats"]["ready"] + server.client.queue("jobs")["stats"]["delayed"] +
              server.client.queue("jobs")["stats"]["inFlight"] == 0, 15, "the retry after the restart")
        sent = [[item["n"] for item in json.loads(body)] for body in stage.bodies]
        assert sent[0] == list(range(SEVERAL)) and sorted(sum(sent[1:], [])) == [0, 3], sent
    finally:
        stage.close()


def test_an_end_on_disk_is_an_end(make_server):
    stage, server = begin(make_server, "answered")
    try:
        server.client.publish("jobs", BODY)
        completed(server, 1)  # an answer rests on the disk
        server.kill()
        server.start()
        time.sleep(0.5)
        assert len(stage.keys()) == 1
        assert server.client.queue("jobs")["stats"]["ready"] == 0
    finally:
        stage.close()


def test_while_a_retry_waits(make_server):
    stage, server = begin(make_server, "refused for now", backoff="8s")
    try:
        server.client.publish("jobs", BODY)
        assert stage.reached.wait(60)
        until(lambda: server.client.queue("jobs")["stats"]["delayed"] == 1, 10, "the retry")
        server.kill()
        server.start()
        until(lambda: len(stage.effects) == 1, 15, "the retry after the restart")
        keys = stage.keys()
        assert len(keys) == 2 and len(set(keys)) == 1, "the retry that was due, no more"
    finally:
        stage.close()


def test_decided_but_not_sent(make_server):
    """Of a paced queue some attempts are on disk before their turn: they have not left, and are sent after the restart."""
    count = 3000  # fifteen seconds, so that the kill is in the middle on any machine
    stage, server = begin(make_server, "one of many", rateLimits={"maxDispatchesPerSecond": 200})
    try:
        server.client.define("queues", "jobs", destination="far", paused=True)
        replies = in_parallel(lambda number: server.client.publish("jobs", {"n": number}), range(count), threads=8)
        assert {reply.status for reply in replies} == {202}
        server.client.define("queues", "jobs", destination="far", paused=False)
        assert stage.reached.wait(60)
        server.kill()
        stage.read_to_the_end()
        sent = len(stage.keys())
        assert sent < count
        server.start()
        server.client.define("destinations", "far", url=stage.url, allowPrivateAddresses=True)  # for the rest there is no need to wait
        until(lambda: len(stage.effects) == count, 15, "all of them")
        until(lambda: server.client.queue("jobs")["stats"]["inFlight"] == 0, 15, "their ends")
        assert len(stage.keys()) <= count + sent, "only what had left may come twice"
    finally:
        stage.close()
