#!/usr/bin/python3
"""Durable campaign entries beside a route of the same server that decides nothing and writes nothing.

Both sides: POST of the same body, 256 keep-alive connections, wrk on the same machine. An entry is answered when its
record is flushed.
"""
import common

CONNECTIONS = 256


def main():
    with common.Folder() as folder:
        server = common.Server(folder).start()
        try:
            entries = common.campaign(server.client, queue="sent")  # the main job: each entry queues a message
            common.settle(server.client)
            common.wrk(server.port, entries, "entry", "warm", CONNECTIONS, 1)
            result = common.in_turns(
                lambda turn: common.wrk(server.port, entries, "entry", f"t{turn}", CONNECTIONS)["rate"],
                lambda turn: common.wrk(server.port, "/v1/noop", "noop", "n", CONNECTIONS)["rate"])
        finally:
            server.kill()
    result["rows"] = [common.row(
        f"entries/s {result['a']:,.0f}, no-op/s {result['b']:,.0f}, at {CONNECTIONS} connections",
        f"{result['ratio'] * 100:.0f} %", ">= 70 %", result["ratio"] >= 0.70)]
    common.write("noop", result)
    return result


if __name__ == "__main__":
    main()
