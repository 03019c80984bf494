#!/usr/bin/python3
"""A million waiting messages in one queue: count, list, cancel and search them, and what entries beside that notice.

Times are of the whole request over one idle connection, the median of many; beside them the same with 1,000 waiting. A search asks for what
no message has, so it looks at all of them: by what is in memory, page after page, and by bodies, which are read from disk, one
page. Then entries run at 64 connections, alone and beside a client that does nothing but search. BENCH_WAITING sets how many wait.
"""
import os
import statistics
import threading
import time

import common
from support.client import Client

WAITING = int(os.environ.get("BENCH_WAITING", "1000000"))
SMALL = 1000
QUEUE = "/v1/queues/backlog"


def ready(server):
    return server.client.get(QUEUE).json["stats"]["ready"]


def fill(server, wanted):
    while (missing := wanted - ready(server)) > 0:
        if missing < 20000:
            for number in range(missing):
                assert server.client.post(QUEUE + "/messages", {"n": number}).status == 202
        else:
            common.wrk(server.port, QUEUE + "/messages", "entry", f"f{missing}-", 256, 1 if missing < 200000 else 3)


def median_ms(do, times):
    values = []
    for turn in range(times):
        began = time.monotonic()
        do(turn)
        values.append((time.monotonic() - began) * 1e3)
    return statistics.median(values)


def get(client, path):
    reply = client.get(path)
    assert reply.status == 200, reply
    return reply.json


def search_all(client, query):
    """Page after page, as somebody does who looks for what is not there; how many requests it took."""
    path, requests = f"{QUEUE}/messages?{query}", 0
    token = ""
    while token is not None:
        page = get(client, path + (f"&page_token={token}" if token else ""))
        assert not page["messages"]
        token, requests = page.get("nextPageToken"), requests + 1
    return requests


def half_way(client):
    """The token of a page in the middle."""
    path, token = QUEUE + "/messages?page_size=1000", ""
    for _ in range(client.get(QUEUE).json["stats"]["ready"] // 2000):
        token = get(client, path + (f"&page_token={token}" if token else ""))["nextPageToken"]
    return f"&page_token={token}" if token else ""


def times_of(server):
    client = server.client
    middle = half_way(client)
    page = get(client, QUEUE + "/messages?page_size=1000")
    cancelled = [message["id"] for message in page["messages"][::10]]

    def cancel(turn):
        assert client.delete(f"{QUEUE}/messages/{cancelled[turn]}").status == 204

    return {"count": median_ms(lambda turn: get(client, QUEUE), 100),
            "page of 50": median_ms(lambda turn: get(client, QUEUE + "/messages?page_size=50"), 100),
            "page of 50 half way": median_ms(lambda turn: get(client, QUEUE + "/messages?page_size=50" + middle), 100),
            "cancel": median_ms(cancel, len(cancelled)),
            "search of memory, all": median_ms(lambda turn: search_all(client, "state=ready&minAttempts=5"), 3),
            "search of bodies, one page": median_ms(lambda turn: get(client, QUEUE + "/messages?contains=nowhere"), 3)}


class Searcher(threading.Thread):
    """Does nothing but search, by memory and by bodies in turns."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.over, self.requests = client, threading.Event(), 0

    def run(self):
        while not self.over.is_set():
            self.requests += search_all(self.client, "state=ready&minAttempts=5")
            get(self.client, QUEUE + "/messages?contains=nowhere")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def measure_beside(server, entries, result):
    def alone(turn):
        return common.wrk(server.port, entries, "entry", f"a{turn}", 64, 3)["p99"]

    def beside(turn):
        with Searcher(Client(server.port)) as searcher:
            p99 = common.wrk(server.port, entries, "entry", f"b{turn}", 64, 3)["p99"]
        result["searches"] = searcher.requests
        return p99

    common.wrk(server.port, entries, "entry", "warm", 64, 1)
    result["beside"] = one = common.in_turns(beside, alone, 3)
    result["rows"].append(common.row(
        f"p99 of entries beside searches {one['a'] / 1000:.1f} ms, alone {one['b'] / 1000:.1f} ms",
        f"{one['ratio']:.2f} x", "<= 2 x", one["ratio"] <= 2))


def main():
    result = {"waiting": WAITING, "rows": []}
    with common.Folder() as folder:
        server = common.Server(folder / "search", {"log": {"snapshotEveryBytes": 1 << 40}}).start()
        try:
            entries = common.campaign(server.client, queue="sent")
            server.client.define("queues", "backlog")
            fill(server, SMALL)
            small = times_of(server)
            fill(server, WAITING)
            large = times_of(server)
            result["small"], result["large"] = small, large
            for what in ("count", "page of 50", "page of 50 half way", "cancel"):
                ratio = large[what] / small[what]
                result["rows"].append(common.row(f"{what}: {large[what]:.2f} ms with {WAITING:,} waiting, {small[what]:.2f} with {SMALL:,}",
                                                 f"{ratio:.2f} x", "<= 1.3 x", ratio <= 1.3))
            for what in ("search of memory, all", "search of bodies, one page"):
                result["rows"].append(common.row(f"{what}: {WAITING:,} waiting", f"{large[what]:.0f} ms", "-", True))
            measure_beside(server, entries, result)
        finally:
            server.kill()
    common.write("search", result)
    return result


if __name__ == "__main__":
    main()
