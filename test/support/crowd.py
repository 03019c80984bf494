"""Many callers at once."""
import threading
from concurrent.futures import ThreadPoolExecutor


def at_once(calls):
    """Runs all calls on threads of their own that start together; their results in order."""
    calls = list(calls)
    gate = threading.Barrier(len(calls))

    def run(call):
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def in_parallel(function, items, threads=16):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
