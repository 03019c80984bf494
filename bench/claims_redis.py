#!/usr/bin/python3
"""First-come claims beside Redis doing them in a Lua script.

Redis: appendonly yes, appendfsync always (its answer follows the flush, like ours); the script checks member and total,
adds the member, takes a number and queues a line. Loaded by redis-benchmark with random members. Ours: entries of a
campaign with a queue, loaded by wrk. Each side gets the same number of connections; both have their load on the same machine.

wrk and redis-benchmark take different shares of it. So at 256 connections both are also measured with bench-load, which costs less than
either and drives both by the same code.
"""
import json
import subprocess
import time

import common

CLIENTS = (1, 64, 256)
ATTEMPTS = 3
CLAIM = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return -1 end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= 100000000000 then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
local number = redis.call('INCR', KEYS[2])
redis.call('RPUSH', KEYS[3], ARGV[1] .. ':' .. number .. ':{"survey":[1,4,2]}')
return number
"""


class Redis:
    def __init__(self, folder):
        self.port = common.free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
             "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if self.cli("PING").strip() == "PONG":
                break
            time.sleep(0.05)
        self.script = self.cli("SCRIPT", "LOAD", CLAIM).strip()

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True,
                              check=False).stdout

    def rate(self, clients):
        """Claims per second, counted by the server: as many as make about SECONDS."""
        count = int(common.SECONDS * {1: 3000, 64: 25000, 256: 30000}[clients])
        for _ in range(ATTEMPTS):
            before, started = self.used(), time.monotonic()
            said = self.benchmark(clients, count)
            took = time.monotonic() - started
            made = self.used() - before
            if made >= count * 0.9:  # a random member may come twice
                return made / took
            print(f"  Redis stalled: {made} of {count} claims in {took:.1f} s; once more", flush=True)
        raise SystemExit(f"bench: Redis makes no claims: {said[-300:]}")

    def benchmark(self, clients, count):
        """What it says; it would try for ever to reach a server that went away."""
        try:
            ended = subprocess.run(
                ["redis-benchmark", "-p", str(self.port), "-c", str(clients), "-n", str(count), "-q", "-r", "1000000000",
                 "EVALSHA", self.script, "3", "members", "used", "queue", "member-__rand_int__"],
                capture_output=True, text=True, check=False, timeout=60)
        except subprocess.TimeoutExpired:
            return "no end after 60 s"
        return ended.stdout + ended.stderr

    def used(self):
        """Claims made so far. A server that the disk holds up answers nobody for a while: that is waited for."""
        answer = None
        for _ in range(150):
            if self.process.poll() is not None:
                break
            if self.cli("PING").strip() == "PONG":
                answer = self.cli("GET", "used").strip() or "0"
                if answer.isdigit():
                    return int(answer)
            time.sleep(0.2)
        raise SystemExit(f"bench: Redis does not say how many claims were made: {answer}")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def same_load(kind, port, target, prefix):
    """Requests per second of bench-load with one thread, which keeps both sides busiest."""
    ended = subprocess.run([common.BUILD / "bench/bench-load", kind, str(port), target, str(CLIENTS[-1]), "1",
                            str(common.SECONDS), prefix], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"bench: {ended.stderr}")
    return json.loads(ended.stdout)["rate"]


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        (folder / "redis").mkdir()
        redis, server = Redis(folder / "redis"), common.Server(folder / "sluice").start()
        try:
            entries = common.campaign(server.client, queue="sent")
            common.settle(server.client)
            for clients in CLIENTS:
                one = common.in_turns(
                    lambda turn: common.wrk(server.port, entries, "entry", f"c{clients}t{turn}", clients)["rate"],
                    lambda turn: redis.rate(clients))
                result[str(clients)] = one
                text = f"claims/s {one['a']:,.0f}, Redis {one['b']:,.0f}, at {clients} connections"
                must = 1.5 if clients == 256 else 0
                result["rows"].append(common.row(text, f"{one['ratio']:.2f} x", f">= {must} x" if must else "-",
                                                 one["ratio"] >= must))
            one = result["same load"] = common.in_turns(
                lambda turn: same_load("http", server.port, entries, f"s{turn}"),
                lambda turn: same_load("redis", redis.port, redis.script, f"s{turn}"))
            result["rows"].append(common.row(f"both by bench-load: {one['a']:,.0f}, Redis {one['b']:,.0f}",
                                             f"{one['ratio']:.2f} x", "-", True))
        finally:
            server.kill()
            redis.stop()
    common.write("redis", result)
    return result


if __name__ == "__main__":
    main()
