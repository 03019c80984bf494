"""A history of operations as clients saw them, for whoever checks it: rig/checker.py, linearizability/main.go.

One operation is a dict:
    part     what it is about; operations of different parts have nothing to do with each other
    model    "stock", "key" or "once"
    op, arg  what was asked
    call     ns when it was sent
    end      ns when its outcome was known; of an unknown one the latest at which it can have happened, None: open
    out      what was answered; None: unknown, it may have happened or not
An operation that certainly did not happen (refused before it reached the server) is not in the history.
"""
import json
import threading
import time


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.operations, self.open = [], []

    def begin(self, model, part, op, arg):
        operation = {"model": model, "part": part, "op": op, "arg": arg, "call": time.monotonic_ns(),
                     "end": None, "out": None}
        with self.lock:
            self.operations.append(operation)
        return operation

    def done(self, operation, out):
        operation["end"] = time.monotonic_ns()
        operation["out"] = out

    def unknown(self, operation):
        with self.lock:
            self.open.append(operation)

    def never(self, operation):
        with self.lock:
            self.operations.remove(operation)

    def server_died(self):
        """Whoever was not answered by a process that is dead can have no effect any more."""
        now = time.monotonic_ns()
        with self.lock:
            for operation in self.open:
                operation["end"] = now
            self.open.clear()

    def parts(self):
        parts = {}
        for operation in self.operations:
            parts.setdefault((operation["model"], operation["part"]), []).append(operation)
        return parts

    def unknowns(self):
        return sum(operation["out"] is None for operation in self.operations)

    def save(self, path):
        with open(path, "w") as file:
            for operation in self.operations:
                file.write(json.dumps(operation) + "\n")
