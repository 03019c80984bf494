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

    def sign(self, name, common_name="localhost", names="DNS:localhost,IP:127.0.0.1", subject=None, dates=None):
        """(certificate, key); `subject` is all of it, "/O=Example/CN=ann", instead of the common name alone; `dates` as 20300131000000Z"""
        certificate, key = self.folder / f"{name}_certificate.pem", self.folder / f"{name}_key.pem"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-utf8", "-subj", subject or f"/CN={common_name}", "-keyout", key, "-out", request)
        if dates is None:
            openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
                    "-days", "2", "-extfile", extensions, "-out", certificate)
        else:
            self._sign_between(*dates, request, extensions, certificate)
        return certificate, key

    def _sign_between(self, begins, ends, request, extensions, certificate):
        """Only `openssl ca` takes dates, and it wants its books."""
        books = self.folder / "books"
        books.mkdir(exist_ok=True)
        (books / "index").write_text("")
        config = books / "config"
        config.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={books}/index\nnew_certs_dir={books}\nrand_serial=yes\n"
                          "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-notext", "-config", config, "-cert", self.certificate, "-keyfile", self._key, "-in", request,
                "-extfile", extensions, "-startdate", begins, "-enddate", ends, "-out", certificate)
