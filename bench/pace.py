#!/usr/bin/python3
"""What a provider sees in any sliding second while there is a backlog: strict and smooth, limit 500, answers after 20 ms.

The provider is a process of its own (tools/demo) and counts by its own clock. Use of the limit is what it saw per
second between two looks, the first a while after the start.
"""
import json
import subprocess
import time
import urllib.request

import common

LIMIT, SECONDS = 500, max(10.0, 3 * common.SECONDS)
BUDGET = {"strict": (LIMIT, 0.97), "smooth": (LIMIT + 5, 0.995)}


class Provider:
    def __init__(self):
        self.port = common.free_port()
        self.process = subprocess.Popen(
            [common.BUILD / "tools/demo/sluice-demo-provider", "--port", str(self.port), "--limit", "100000",
             "--latency-ms", "20", "--fail", "0", "--refuse", "0"], stdout=subprocess.DEVNULL)
        time.sleep(0.2)

    def stats(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=5) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run(folder, mode):
    """(most in any second, share of the limit used)"""
    provider, server = Provider(), common.Server(folder / mode).start()
    try:
        client = server.client
        client.define("destinations", "far", url=f"http://127.0.0.1:{provider.port}/vouchers",
                      allowPrivateAddresses=True, rateLimits={"maxDispatchesPerSecond": LIMIT, "mode": mode})
        client.define("queues", "jobs", destination="far")
        client.define("stocks", "units", total=10**9)
        client.define("campaigns", "bench", stock="units", queue="jobs", memberPointer="/member")
        common.wrk(server.port, "/v1/campaigns/bench/entries", "entry", mode, 64, 1)
        time.sleep(2)
        first, started = provider.stats()["seen"], time.monotonic()
        time.sleep(SECONDS)
        last, ended = provider.stats(), time.monotonic()
        assert client.queue("jobs")["stats"]["ready"] > 0, "the backlog ran out: the figure means nothing"
        return last["maxInAnySecond"], (last["seen"] - first) / (ended - started) / LIMIT
    finally:
        server.kill()
        provider.stop()


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        for mode, (most_allowed, use_wanted) in BUDGET.items():
            most, use = run(folder, mode)
            result[mode] = {"most": most, "use": use}
            result["rows"] += [
                common.row(f"{mode}: most requests seen in any sliding second", str(most), f"<= {most_allowed}",
                           most <= most_allowed),
                common.row(f"{mode}: use of the limit", f"{use * 100:.1f} %", f">= {use_wanted * 100:g} %",
                           use >= use_wanted)]
    common.write("pace", result)
    return result


if __name__ == "__main__":
    main()
