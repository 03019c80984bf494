"""Waiting for something to become true, with a limit and no fixed sleeps."""
import time

from .server import SLOW


def until(condition, timeout=10, what="the condition"):
    """The first true value of condition()."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {timeout} s")
        time.sleep(0.02)
