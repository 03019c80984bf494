#!/usr/bin/python3
"""What a provider that allows 500 a second sees in each sliding second: from us, smooth and strict, from nginx's limit_req and
from a token bucket of the usual kind (burst = rate), while there is a backlog from the first moment on.

bench-sink is the provider and notes when each request came. The plot is docs/provider-view.svg; `--plot` writes it there,
else it goes to bench/results.
"""
import bisect
import socket
import subprocess
import sys
import threading
import time

import common
from dispatch import Sink, define, fill

LIMIT, SECONDS = 500, 6.0
NGINX = """daemon off; pid %(folder)s/pid; error_log %(folder)s/error.log; worker_processes 1;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/f; uwsgi_temp_path %(folder)s/u; scgi_temp_path %(folder)s/s;
  limit_req_zone $binary_remote_addr zone=all:1m rate=%(rate)dr/s;
  upstream far { server 127.0.0.1:%(sink)d; keepalive 64; }
  server { listen 127.0.0.1:%(port)d;
    location / { limit_req zone=all burst=%(rate)d%(nodelay)s; proxy_pass http://far;
                 proxy_http_version 1.1; proxy_set_header Connection ""; } } }
"""


def sliding(times):
    """(seconds since the first, requests in the second that ends there) at each arrival."""
    return [((at - times[0]) / 1e9, n + 1 - bisect.bisect_right(times, at - 10**9)) for n, at in enumerate(times)]


def ours(folder, mode):
    sink, server = Sink(), common.Server(folder / mode).start()
    try:
        define(server.client, sink, rateLimits={"maxDispatchesPerSecond": LIMIT, "mode": mode})
        fill(server.client, server.port, int(LIMIT * (SECONDS + 2)))
        server.client.define("queues", "jobs", destination="far", paused=False)
        time.sleep(SECONDS + 0.5)
    finally:
        server.kill()
        times = sink.stop()
    return list(times)


def nginx(folder, nodelay):
    sink, port = Sink(), common.free_port()
    home = folder / f"nginx{nodelay.strip()}"
    home.mkdir()
    (home / "nginx.conf").write_text(NGINX % {"folder": home, "rate": LIMIT, "sink": sink.port, "port": port,
                                              "nodelay": nodelay})
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", home, "-c", home / "nginx.conf"])
    time.sleep(0.5)
    try:  # what limit_req refuses is asked again, as a caller with a backlog would
        subprocess.run(["wrk", "-t1", "-c256", f"-d{round(SECONDS)}s", f"http://127.0.0.1:{port}/"],
                       stdout=subprocess.DEVNULL, check=True)
    finally:
        process.terminate()
        process.wait()
        times = sink.stop()
    return list(times)


class Bucket:
    """As in most libraries: up to `rate` tokens, refilled by the time that went by."""

    def __init__(self, rate):
        self.rate, self.tokens, self.at, self.lock = rate, float(rate), time.monotonic(), threading.Lock()

    def take(self):
        while True:
            with self.lock:
                now = time.monotonic()
                self.tokens = min(self.rate, self.tokens + (now - self.at) * self.rate)
                self.at = now
                if self.tokens >= 1:
                    self.tokens -= 1
                    return
            time.sleep(0.001)


def bucket():
    sink, tokens, end = Sink(), Bucket(LIMIT), time.monotonic() + SECONDS

    def send():
        with socket.create_connection(("127.0.0.1", sink.port)) as connection:
            while time.monotonic() < end:
                tokens.take()
                connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                connection.recv(4096)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(sink.stop())


# ---- the plot ----

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 420, 60, 46, 40
COLOURS = ["#1a7f37", "#0969da", "#bf8700", "#8250df", "#cf222e"]


def svg(series):
    top = 1.1 * max(LIMIT * 2, max(count for _, points in series for _, count in points))
    x = lambda at: LEFT + at / SECONDS * (WIDTH - LEFT - 20)  # noqa: E731
    y = lambda count: HEIGHT - BOTTOM - count / top * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 24 * len(series)}" '
           'font-family="sans-serif" font-size="13">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="16">Requests in the last second, as the provider counts</text>']
    for count in range(0, int(top), LIMIT // 2):
        out.append(f'<path d="M{LEFT} {y(count):.1f}H{WIDTH - 20}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 8}" y="{y(count) + 4:.1f}" text-anchor="end">{count}</text>')
    for second in range(int(SECONDS) + 1):
        out.append(f'<text x="{x(second):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{second} s</text>')
    out.append(f'<path d="M{LEFT} {y(LIMIT):.1f}H{WIDTH - 20}" stroke="black" stroke-dasharray="6 4"/>')
    for n, (name, points) in enumerate(series):
        shown = [p for p in points if p[0] <= SECONDS][::len(points) // 400 + 1]
        line = " ".join(f"{x(at):.1f},{y(count):.1f}" for at, count in shown)
        out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[n]}" stroke-width="1.6"/>')
        most = max(count for _, count in points)
        out.append(f'<text x="{LEFT}" y="{HEIGHT + 4 + 24 * n}" fill="{COLOURS[n]}">{name}: '
                   f'{most} at most</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    with common.Folder() as folder:
        series = [("Sluice, strict", ours(folder, "strict")), ("Sluice, smooth", ours(folder, "smooth")),
                  ("nginx limit_req, burst=500", nginx(folder, "")),
                  ("nginx limit_req, burst=500 nodelay", nginx(folder, " nodelay")),
                  ("a token bucket of 500, refilled with 500/s", bucket())]
    series = [(name, sliding(times)) for name, times in series]
    result = {"rows": [], "most": {name: max(count for _, count in points) for name, points in series}}
    for name, allowed in (("Sluice, strict", LIMIT), ("Sluice, smooth", LIMIT + 5)):
        most = result["most"][name]
        result["rows"].append(common.row(f"{name}: most in any second", str(most), f"<= {allowed}", most <= allowed))
    for name, most in list(result["most"].items())[2:]:
        result["rows"].append(common.row(f"{name}: most in any second", str(most), "-", True))
    common.write("provider_view", result)
    place = common.ROOT / ("docs" if "--plot" in sys.argv else "bench/results") / "provider-view.svg"
    place.write_text(svg(series))
    return result


if __name__ == "__main__":
    main()
