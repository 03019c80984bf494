"""HTTP/2 on the way out, against a server that speaks nothing else once it was negotiated: nghttpd."""
import re
import subprocess

import pytest
from support.server import free_port
from support.wait import until


@pytest.fixture
def far(tmp_path):
    """(port, certificate, what it saw so far)"""
    key, certificate, log, port = tmp_path / "k.pem", tmp_path / "c.pem", tmp_path / "log", free_port()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(["/usr/sbin/nghttpd", "-v", "--address=127.0.0.1", "--echo-upload", "-d", str(tmp_path),
                                    str(port), str(key), str(certificate)], stdout=output, stderr=output)
    seen = lambda: re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    until(lambda: "listen" in seen(), 10, "nghttpd")
    yield port, certificate, seen
    process.terminate()
    process.wait()


def test_messages_share_one_http2_connection(client, far):
    port, certificate, seen = far
    client.define("destinations", "far", url=f"https://localhost:{port}/", http2=True, caFile=str(certificate),
                  allowPrivateAddresses=True)
    client.define("queues", "mail", destination="far")
    for number in range(3):
        assert client.publish("mail", {"n": number}).status == 202
        until(lambda: client.queue("mail")["stats"]["completed"] == number + 1, 10, "the answer")
    assert seen().count("The negotiated protocol: h2") == 1
    assert len(set(re.findall(r"idempotency-key: (\S+)", seen()))) == 3
