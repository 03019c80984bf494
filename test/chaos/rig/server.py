"""The real binary in a process group of its own, so that it can be hurt: limits, a preloaded library, another name
space, signals to the whole group at once."""
import os
import pathlib
import resource
import signal
import subprocess
import time

from support import server as program

BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", pathlib.Path(__file__).resolve().parents[3] / "build"))
LIBRARIES = BUILD / "test/chaos"


class HurtServer(program.Server):
    """As Server; `environment`, `limits` ({resource.RLIMIT_…: n}) and `prefix` (a command before it) may be changed
    between two starts. It listens for AMQP as well."""

    def __init__(self, folder, config=None, data=None):
        super().__init__(folder, config)
        self.amqp_port = program.free_port()
        self.configure({"listeners": [*self.config["listeners"],
                                      {"host": "127.0.0.1", "port": self.amqp_port, "protocol": "amqp"}]})
        self.data = pathlib.Path(data) if data else self.data
        self.environment, self.limits, self.prefix = {}, {}, []
        self.starts = 0
        self.dark = False  # its power is going: what it answers from now on, nobody hears (rig/places.py)
        self.may_end = (-signal.SIGKILL,)  # codes with which it may have ended before it is killed

    def launch(self, *arguments):
        def limit():
            for name, value in self.limits.items():
                resource.setrlimit(name, (value, value))
        self.starts += 1
        self.dark = False
        with open(self.output_path, "ab") as output:
            self.process = subprocess.Popen(
                [*self.prefix, program.BINARY, "serve", "--config", str(self.config_path), "--data", str(self.data),
                 *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=dict(os.environ, **self.environment), preexec_fn=limit if self.limits else None)
        return self

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        """The whole group at once, and until the last of it is gone: a snapshot's child is part of the machine.
        A server that had ended already, by a fault of its own, is no server that was killed."""
        if self.process is None:
            self.client.close()
            return
        group, ended = self.process.pid, self.process.poll()
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None
        self.client.close()
        end = time.monotonic() + 10
        while group_lives(group) and time.monotonic() < end:
            time.sleep(0.002)

    def stop(self, timeout=60):
        code = super().stop(timeout)
        if code == 0:
            self.verify_files()
        return code

    def verify_files(self):
        """While it does not run: each body is as it was written, and the chain of the audit is whole."""
        for what in ("log", "audit"):
            done = subprocess.run([*self.prefix, program.BINARY, what, "verify", str(self.data)], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"{what} verify: {done.stdout}{done.stderr}"

    def ended(self):
        return self.process is not None and self.process.poll() is not None


def group_lives(group):
    """Zombies that nobody has waited for yet write nothing any more."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False
