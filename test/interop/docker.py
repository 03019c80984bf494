"""As much of Docker's interface as a suite asks for that wants to start its broker itself: the container it gets is the
server that runs already."""
import http.server
import json
import pathlib
import socketserver
import threading

from stage import AMQP, AMQPS


class Answers(http.server.BaseHTTPRequestHandler):
    def answer(self, status, fields):
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # inspect
        ports = {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for port in (AMQP, AMQPS)}
        self.answer(200, {"Id": "server", "NetworkSettings": {"Ports": ports}})

    def do_POST(self):  # pull, create, start, kill
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(201, {"Id": "server"})

    def do_DELETE(self):
        self.answer(200, {})

    def address_string(self):
        return "suite"

    def log_message(self, *arguments):
        pass


class Docker(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "docker"
        super().__init__(str(self.path), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()
