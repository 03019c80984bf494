"""An external service for tests: real HTTP, records what it sees and when, answers as it is told."""
import http.server
import json
import socketserver
import threading
import time


class Seen:
    def __init__(self, path, headers, body, at_ns):
        self.path, self.headers, self.body, self.at_ns = path, headers, body, at_ns

    @property
    def key(self):
        return self.headers.get("Idempotency-Key", "").strip('"')

    @property
    def receipt(self):
        """The key is the receipt and, behind it, the data folder that it counts in."""
        return self.key.split("-")[0]

    @property
    def json(self):
        return json.loads(self.body)


class Provider(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """`answer(seen, times)` gives a status or (status, headers); times: how often this key was seen before."""
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, answer=lambda seen, times: 200, delay=0.0, address=("127.0.0.1", 0)):
        super().__init__(address, Handler)
        self.answer, self.delay = answer, delay
        self.lock = threading.Lock()
        self.seen, self.counts, self.effects = [], {}, {}
        self.health, self.checks = 200, 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/send"

    def note(self, seen):
        """Records it; how often its key came before."""
        with self.lock:
            times = self.counts.get(seen.key, 0)
            self.counts[seen.key] = times + 1
            self.seen.append(seen)
            return times

    def took_effect(self, seen):
        with self.lock:
            self.effects.setdefault(seen.key, seen)

    def most_in_any(self, seconds):
        """The most requests seen in any window of this length."""
        with self.lock:
            times = sorted(seen.at_ns for seen in self.seen)
        most, first = 0, 0
        for last, at_ns in enumerate(times):
            while at_ns - times[first] >= seconds * 1e9:
                first += 1
            most = max(most, last - first + 1)
        return most

    def handle_error(self, request, client_address):
        """A server that was killed leaves broken connections: not worth a word."""

    def stop(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        at_ns = time.monotonic_ns()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = Seen(self.path, self.headers, body, at_ns)
        times = self.server.note(seen)
        if self.server.delay:
            time.sleep(self.server.delay)
        answer = self.server.answer(seen, times)
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        if 200 <= status < 300:
            self.server.took_effect(seen)
        text = b'{"status":%d}' % status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        """Health checks: not recorded among what was sent."""
        with self.server.lock:
            self.server.checks += 1
        self.send_response(self.server.health)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """The test reads `seen`; nothing is printed."""
