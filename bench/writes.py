#!/usr/bin/python3
"""Bytes written for each byte accepted when messages are consumed quickly: bodies of 1 KiB, sent on at once to a provider
that answers at once. Written: what the log handed to the disk, attempts included. Accepted: bodies.
"""
import json
import subprocess
import time
import urllib.request

import common


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        port = common.free_port()
        provider = subprocess.Popen(
            [common.BUILD / "tools/demo/sluice-demo-provider", "--port", str(port), "--limit", "1000000",
             "--latency-ms", "0", "--jitter-ms", "0", "--fail", "0", "--refuse", "0"], stdout=subprocess.DEVNULL)
        server = common.Server(folder / "sluice", {"log": {"segmentBytes": 16 << 20}}).start()
        try:
            client = server.client
            client.define("destinations", "far", url=f"http://127.0.0.1:{port}/vouchers", allowPrivateAddresses=True,
                          rateLimits={"maxConcurrentDispatches": 200})
            client.define("queues", "jobs", destination="far")
            names = ("sluice_log_written_bytes_total", "sluice_log_appended_bytes_total")
            before = [common.metric(client, name) for name in names]
            load = common.wrk(server.port, "/v1/queues/jobs/messages", "publish", "w", 64)
            while any(client.queue("jobs")["stats"][state] for state in ("ready", "delayed", "inFlight")):
                time.sleep(0.1)
            written, appended = (common.metric(client, name) - old for name, old in zip(names, before))
            accepted = load["requests"] * 1024
            result.update(written=written, appended=appended, accepted=accepted, messages=load["requests"],
                          per_body=written / accepted, per_record=written / appended)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5) as answer:
                assert json.load(answer)["seen"] >= load["requests"]
        finally:
            server.kill()
            provider.terminate()
            provider.wait()
    result["rows"] = [
        common.row("bytes written per byte of log records", f"{result['per_record']:.3f}", "<= 1.15",
                   result["per_record"] <= 1.15),
        common.row("bytes written per byte of bodies of 1 KiB, attempts included", f"{result['per_body']:.3f}", "-", True)]
    common.write("writes", result)
    return result


if __name__ == "__main__":
    main()
