"""A RabbitMQ to compare with: a node of its own on loopback, everything below one folder, ended by its own process id."""
import base64
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

from .server import free_port

PROGRAM = next(iter(sorted(pathlib.Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))), None)


class Rabbit:
    """`lines` are added to its configuration; ports that are not given are free ones. `start` waits for all plugins."""

    def __init__(self, folder, amqp_port=None, port=None, lines=(), plugins=("rabbitmq_management",)):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.amqp_port, self.port, self.mapper = amqp_port or free_port(), port or free_port(), free_port()
        self.environment = {
            **os.environ, "HOME": str(self.folder), "RABBITMQ_NODENAME": f"t{self.mapper}@localhost",
            "RABBITMQ_NODE_PORT": str(self.amqp_port), "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": str(self.mapper), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"), "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbit"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"}
        (self.folder / "plugins").write_text(f"[{','.join(plugins)}].\n")
        management = ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.port}"] if plugins else []
        (self.folder / "rabbit.conf").write_text("\n".join([
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}", *management, *lines, ""]))
        self.process = None

    def is_up(self):
        """Its last line when all plugins have started."""
        return "completed with" in (self.folder / "output").read_text(errors="replace")

    def start(self, timeout=240):
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen([str(PROGRAM / "sbin/rabbitmq-server")], env=self.environment, stdout=output,
                                            stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True)
        end = time.monotonic() + timeout
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"RabbitMQ does not start:\n{(self.folder / 'output').read_text()}")
            time.sleep(0.2)
        return self

    def control(self, *arguments):
        """rabbitmqctl, as the node's own environment has it."""
        return subprocess.run([str(PROGRAM / "sbin/rabbitmqctl"), "-n", self.environment["RABBITMQ_NODENAME"], *arguments],
                              env=self.environment, capture_output=True, text=True, check=True, timeout=300).stdout

    def manage(self, method, path, body=None):
        """A call of its management API, as guest; the decoded answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()})
        with urllib.request.urlopen(request, timeout=300) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def kill(self):
        """-9, and its folder stays: start() goes on with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """The group is ours alone, and so is the port mapper, which listens on a port of its own."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.kill()
        self.process = None
        end = time.monotonic() + 10
        while time.monotonic() < end:  # it refuses as long as it knows a node
            killed = subprocess.run(["epmd", "-port", str(self.mapper), "-kill"], capture_output=True, text=True, check=False)
            if killed.returncode == 0 or "Cannot connect" in killed.stdout + killed.stderr:
                return
            time.sleep(0.2)
