"""What a suite runs against: the real program, or RabbitMQ, on the ports that RabbitMQ has everywhere.

Suites have `localhost:5672` and the rest written into them. So each runs in a network of its own (unshare), in which
these ports are free, nothing else listens, and no suite can reach anything but the server.
"""
import base64
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.certificates import Authority  # noqa: E402
from support.rabbit import Rabbit  # noqa: E402
from support.server import Server  # noqa: E402

AMQP, AMQPS, MANAGEMENT = 5672, 5671, 15672


def enter_own_network(arguments):
    """Runs this program again in a network name space with nothing but a loopback; its exit code."""
    as_nobody = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.run(["unshare", "--net", *as_nobody, sys.executable, *arguments], check=False).returncode


def raise_loopback():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Stage:
    """`server` is "sluice" or "rabbitmq". Both know guest/guest, an administrator, and take TLS with client certificates."""

    def __init__(self, server, folder):
        self.folder = pathlib.Path(folder)
        self.authority = Authority(self.folder / "certificates")
        self.certificate, self.key = self.authority.sign("server")
        self.authority.sign("client", common_name="guest")
        for name in ("client_certificate_broken.pem", "client_key_broken.pem"):
            (self.authority.folder / name).write_text("not a certificate\n")
        self.server = self.sluice() if server == "sluice" else self.rabbit()

    def sluice(self):
        server = Server(self.folder / "server")
        server.port = server.client.port = MANAGEMENT
        tls = {"certificate": str(self.certificate), "key": str(self.key)}
        server.configure({"amqp": {"messageBytes": 64 << 20}, "log": {"segmentBytes": 128 << 20}, "listeners": [
            {"host": "127.0.0.1", "port": MANAGEMENT},
            {"host": "127.0.0.1", "port": AMQP, "protocol": "amqp"},
            {"host": "::1", "port": AMQP, "protocol": "amqp"},
            {"host": "127.0.0.1", "port": AMQPS, "protocol": "amqp", "tls": tls}]})
        return server

    def rabbit(self):
        return Rabbit(self.folder / "server", AMQP, MANAGEMENT, [
            f"listeners.tcp.2 = ::1:{AMQP}", f"listeners.ssl.1 = 127.0.0.1:{AMQPS}",
            f"ssl_options.cacertfile = {self.authority.certificate}", f"ssl_options.certfile = {self.certificate}",
            f"ssl_options.keyfile = {self.key}"])

    def __enter__(self):
        self.server.start()
        if isinstance(self.server, Server):
            self.define_guest()
        return self

    def __exit__(self, *exception):
        self.server.stop()

    def define_guest(self):
        """RabbitMQ comes with it; here somebody has to define it before others can give it permissions."""
        for path, fields in (("users/guest", {"password": "guest", "tags": "administrator"}),
                             ("permissions/%2F/guest", {"configure": ".*", "write": ".*", "read": ".*"})):
            request = urllib.request.Request(
                f"http://127.0.0.1:{MANAGEMENT}/api/{path}", json.dumps(fields).encode(), method="PUT",
                headers={"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()})
            urllib.request.urlopen(request, timeout=10).close()
