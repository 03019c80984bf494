"""A certificate authority for one test run, with a certificate for the server and one for a client."""
import pathlib
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, stdin=subprocess.DEVNULL)


class Authority:
    """Files below `folder`: ca_certificate.pem, and NAME_certificate.pem, NAME_key.pem for each name asked for."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self._key = self.folder / "ca_certificate.pem", self.folder / "ca_key.pem"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Authority of a test",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", self._key, "-out", self.certificate)

    def sign(self, name, common_name="localhost", names="DNS:localhost,IP:127.0.0.1", subject=None):
        """(certificate, key); `subject` is all of it, "/O=Example/CN=ann", instead of the common name alone"""
        certificate, key = self.folder / f"{name}_certificate.pem", self.folder / f"{name}_key.pem"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-utf8", "-subj", subject or f"/CN={common_name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
                "-days", "2", "-extfile", extensions, "-out", certificate)
        return certificate, key
