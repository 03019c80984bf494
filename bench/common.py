"""What the comparisons share: starting our side, loading it, taking turns, medians, JSON.

Absolute figures drift from minute to minute on any shared machine; a ratio of two things that were measured in turns
(A B A B ...) in one run holds. So every comparison gives medians of at least five pairs and their ratio.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build-release")).resolve()
os.environ.setdefault("SLUICE_BIN", str(BUILD / "src/cli/sluice"))
sys.path.insert(0, str(ROOT / "test"))
from support.server import Server, free_port  # noqa: E402,F401

PAIRS = int(os.environ.get("BENCH_PAIRS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))


class Folder:
    """A scratch folder on the disk under the project (not a memory disk, which would flatter everybody)."""

    def __enter__(self):
        parent = ROOT / "build-bench-data"
        parent.mkdir(exist_ok=True)
        self.path = pathlib.Path(tempfile.mkdtemp(dir=parent))
        self.path.chmod(0o755)
        return self.path

    def __exit__(self, *exception):
        shutil.rmtree(self.path, ignore_errors=True)


def wrk(port, path, kind, prefix, connections, seconds=None, threads=None):
    """One run of wrk; its figures, with "rate" in requests/s. A refused request fails the run."""
    seconds = max(1, round(seconds or SECONDS))  # wrk takes whole ones
    threads = threads or (1 if connections < 2 else 2)
    output = subprocess.run(
        ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
         "-s", str(ROOT / "bench/requests.lua"), f"http://127.0.0.1:{port}{path}", "--", kind, prefix],
        capture_output=True, text=True, check=True).stdout
    figures = json.loads(next(line for line in output.splitlines() if line.startswith("JSON "))[5:])
    if figures["errors"] or figures["refused"]:
        raise SystemExit(f"bench: wrk {path} at {connections} connections had failures: {figures}\n{output}")
    figures["rate"] = figures["requests"] / figures["seconds"]
    return figures


def settle(client, timeout=60):
    """Waits until the log space for a burst is written ahead, as it is in a server that has been up for a while."""
    for _ in range(timeout * 2):
        if metric(client, "sluice_log_prepared_bytes") >= 256 << 20:
            return
        time.sleep(0.5)
    raise SystemExit("bench: the log space was not written ahead in time")


def campaign(client, name="bench", queue=None):
    """A campaign that never sells out; where entries go."""
    client.define("stocks", name, total=10**11)
    fields = {"stock": name, "memberPointer": "/member"}
    if queue:
        client.define("queues", queue)
        fields["queue"] = queue
    client.define("campaigns", name, **fields)
    return f"/v1/campaigns/{name}/entries"


def in_turns(a, b, pairs=PAIRS):
    """Medians of a() and b() taken in turns, their ratio pair by pair, and all values."""
    values_a, values_b = [], []
    for turn in range(pairs):
        values_a.append(a(turn))
        values_b.append(b(turn))
    ratios = [x / y for x, y in zip(values_a, values_b)]
    return {"a": statistics.median(values_a), "b": statistics.median(values_b),
            "ratio": statistics.median(ratios), "ratios": [round(r, 3) for r in ratios],
            "all_a": values_a, "all_b": values_b}


def row(text, figure, budget, met):
    """One line of the summary."""
    print(f"  {'ok  ' if met else 'MISS'} {text:<64} {figure:>14}   must {budget}", flush=True)
    return {"text": text, "figure": figure, "budget": budget, "met": bool(met)}


def write(name, result):
    folder = ROOT / "bench/results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def metric(client, name):
    """The sum of a metric over its labels; None when it is not there."""
    values = [float(line.rsplit(" ", 1)[1]) for line in client.get("/metrics").body.decode().splitlines()
              if line.startswith((name + " ", name + "{"))]
    return sum(values) if values else None
