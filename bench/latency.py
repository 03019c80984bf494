#!/usr/bin/python3
"""One entry on one idle connection beside a bare write and fdatasync of the same number of bytes on the same disk.

The record's size is taken from the log itself. Of the bare writes, the one into an allocated range is what a fresh segment costs, and what
the budget is against. Appending is what a plain file costs, the one into a range that was written before is the floor of any log. The
no-op row is what asking over HTTP costs without any disk.
"""
import json
import subprocess

import common

COUNT = 3000


def bare(folder, size, mode):
    output = subprocess.run([common.BUILD / "bench/bench-flush", folder / "flush", str(size), str(COUNT), mode],
                            capture_output=True, text=True, check=True).stdout
    return json.loads(output)


def record_bytes(server):
    """Mean size of the records that a number of entries made, by the log's own counters."""
    names = ("sluice_log_appended_bytes_total", "sluice_log_records_total")
    before = [common.metric(server.client, name) for name in names]
    common.wrk(server.port, "/v1/campaigns/bench/entries", "entry", "size", 1, 1)
    size, records = (common.metric(server.client, name) - old for name, old in zip(names, before))
    return round(size / records)


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        server = common.Server(folder / "sluice").start()
        try:
            entries = common.campaign(server.client, queue="sent")
            common.settle(server.client)
            common.wrk(server.port, entries, "entry", "warm", 1, 1)
            size = record_bytes(server)
            for mode in ("append", "allocated", "recycled"):
                one = common.in_turns(
                    lambda turn: common.wrk(server.port, entries, "entry", f"{mode}{turn}", 1, 2)["p50"],
                    lambda turn: bare(folder, size, mode)["p50"])
                result[mode] = one
                headline = mode == "allocated"
                result["rows"].append(common.row(
                    f"one entry {one['a']:.0f} us, bare {mode} of {size} B {one['b']:.0f} us (p50)",
                    f"{one['ratio']:.2f} x", "<= 1.6 x" if headline else "-",
                    one["ratio"] <= 1.6 or not headline))
            noop = common.wrk(server.port, "/v1/noop", "noop", "n", 1, 2)["p50"]
            result["rows"].append(common.row(f"the no-op route on one connection {noop:.0f} us (p50)", "-", "-", True))
            result["record_bytes"] = size
        finally:
            server.kill()
    common.write("latency", result)
    return result


if __name__ == "__main__":
    main()
