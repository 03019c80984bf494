"""Waiting for something to become true, with a limit and no fixed sleeps."""
import time

from .server import SLOW


LEAST_S = 60


def until(condition, timeout=LEAST_S, what="the condition"):
    """
    The first true value of condition(). The limit is for what never comes and says nothing about how long it may
    take, which is a matter of who else uses the machine: it is never less than a minute.
    """
    end = time.monotonic() + max(timeout, LEAST_S) * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {max(timeout, LEAST_S)} s")
        time.sleep(0.02)
