"""Who says whether a history is right: our own search always, porcupine where Go and its module are to be had.

The two share nothing but the format of the history: models and search are written twice, in two languages. `make
test` uses the first alone, since a Go module is nothing that building and testing may depend on.
"""
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from rig import checker
from rig.server import BUILD

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "linearizability"


@functools.lru_cache
def porcupine():
    """(program, None), or (None, why it cannot be built)."""
    go = shutil.which("go", path="/usr/lib/go-1.19/bin:" + os.environ.get("PATH", "/usr/bin"))
    if go is None:
        return None, "no Go here (scripts/install-deps chaos)"
    program = BUILD / "chaos-linearizability"
    built = subprocess.run([go, "build", "-mod=readonly", "-o", str(program), "."], cwd=SOURCE, capture_output=True,
                           text=True, timeout=240, env=dict(os.environ, GOTOOLCHAIN="local", GOWORK="off"))
    if built.returncode != 0:
        return None, f"porcupine cannot be built: {built.stderr.strip()[-300:]}"
    return program, None


def by_porcupine(history):
    """What it counted; AssertionError with the operations when a part has no order."""
    program, reason = porcupine()
    assert program, reason
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        history.save(file.name)
        result = subprocess.run([program, file.name], capture_output=True, text=True, timeout=600)
    if result.returncode != 0:
        raise checker.Unlinearizable(result.stderr)
    return json.loads(result.stdout)


def receipts_in_order(history):
    """A receipt is a position in the log: who had heard his before another one asked has the smaller one."""
    made = [(o["call"], o["end"], o["out"]["receipt"]) for o in history.operations
            if o["model"] == "key" and o["out"] and not o["out"].get("refused") and not o["out"]["replayed"]]
    by_end = sorted(made, key=lambda m: m[1])
    highest, at = "", 0
    for call, _, receipt in sorted(made):
        while by_end[at][1] < call:
            highest, at = max(highest, by_end[at][2]), at + 1
        assert receipt > highest, f"{receipt} was given after {highest} had been heard"
    return len(made)


def judge(chaos, history):
    receipts_in_order(history)
    chaos.figures["parts checked"] += checker.check(history)
    chaos.figures["operations checked"] += len(history.operations)
    chaos.figures["of unknown outcome"] += history.unknowns()
    if chaos.long and porcupine()[0]:
        chaos.figures["operations checked by porcupine"] += by_porcupine(history)["operations"]
