"""Starts, stops and kills the real binary on a free loopback port with a data folder of its own."""
import contextlib
import fcntl
import functools
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from .client import Client

BINARY = os.environ.get("SLUICE_BIN", str(
    pathlib.Path(__file__).resolve().parents[2] / "build/src/cli/sluice"))
SLOW = 6 if os.environ.get("SLUICE_SANITIZED") else 1  # sanitizers and their patience


@functools.lru_cache
def ports_of_this_process():
    """(numbers in turn, what keeps them ours): of no other process that runs tests, and none that the kernel gives to
    whoever wants any. So whoever is killed finds his port free when he is started again."""
    for first in range(12000, 32000, 250):
        with contextlib.suppress(OSError):  # BlockingIOError: somebody has these
            lock = open(pathlib.Path(tempfile.gettempdir()) / f"sluice-test-ports-{first}", "ab")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return itertools.cycle(range(first, first + 250)), lock
    raise AssertionError("80 processes that test at once are too many")


def free_port():
    for port in ports_of_this_process()[0]:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def run(*arguments, timeout=300, **options):
    """One command of the program; the finished process with its texts."""
    return subprocess.run([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout * SLOW, check=False, **options)


class Server:
    """`config` is merged over a minimal configuration; JSON is YAML, so it is written as JSON."""

    def __init__(self, folder, config=None):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.config_path = self.folder / "sluice.yaml"
        self.output_path = self.folder / "output"
        self.port = free_port()
        self.config = {"listeners": [{"host": "127.0.0.1", "port": self.port}]}
        self.configure(config or {})
        self.process = None
        self.client = Client(self.port)

    def configure(self, changes):
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(self.config.get(key), dict):
                self.config[key].update(value)
            else:
                self.config[key] = value
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(json.dumps(self.config, indent=2))

    def launch(self, *arguments):
        """Starts without waiting for readiness."""
        output = open(self.output_path, "ab")
        with output:
            self.process = subprocess.Popen(
                [BINARY, "serve", "--config", str(self.config_path), "--data", str(self.data), *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return self

    def start(self, *arguments, timeout=60):
        self.launch(*arguments)
        self.wait_for("/readyz", timeout)
        return self

    def wait_for(self, path, timeout=60):
        """Until a GET is answered 200."""
        end = time.monotonic() + timeout * SLOW
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.output()}")
            try:
                if self.client.get(path).status == 200:
                    return
            except OSError:
                self.client.close()
            time.sleep(0.01)
        raise AssertionError(f"{path} is not 200 after {timeout} s:\n{self.output()}")

    def stop(self, timeout=60):
        """Asks it to end; its exit code."""
        if self.process is None:
            return None
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(timeout)

    def wait_end(self, timeout=60):
        code = self.process.wait(timeout * SLOW)
        self.process = None
        return code

    def kill(self):
        """kill -9, as a power cut for everything but the disk's own cache."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.client.close()

    def restart(self, *arguments):
        self.stop()
        return self.start(*arguments)

    def output(self):
        return self.output_path.read_text(errors="replace") if self.output_path.exists() else ""

    def cpu_s(self):
        """What its threads have computed so far: the measure of its work, whatever else the machine does."""
        return time.clock_gettime(~self.process.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it

    def resident_bytes(self, name="VmRSS"):
        """VmHWM: the most that it ever was."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no " + name)
