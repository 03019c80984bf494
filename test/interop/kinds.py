"""How suites of each language are fetched, run and read.

`prepare` may use the package registries, through their ordinary clients; what it leaves in `folder` is enough for
`run`, which has no network but the server's. Outcomes are "passed", "failed" or "skipped", by the name of the test.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as xml

LOCKS = pathlib.Path(__file__).resolve().parent / "locks"


class Unavailable(Exception):
    """A tool is not here, or too old: the suite cannot run on this machine."""


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed")


class Suite:
    timeout_s = 600

    def __init__(self, name, about, folder):
        self.name, self.about = name, about
        self.package, self.version = about.get("package", name), about["version"]
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.output = self.folder / f"{name}.output"

    def fetch(self, command, **options):
        """Fails with what the tool said."""
        with self.output.open("w") as output:
            done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=subprocess.STDOUT, check=False, **options)
        if done.returncode:
            raise Unavailable(f"{command[0]} ended with {done.returncode}:\n{self.output.read_text()[-2000:]}")

    def play(self, command, cwd, environment):
        """The text that the suite prints, also when it fails or takes too long."""
        with self.output.open("w") as output:
            try:
                subprocess.run([str(word) for word in command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                               stdout=output, stderr=subprocess.STDOUT, check=False, timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                output.write("\nstopped: it took too long\n")
        return self.output.read_text(errors="replace")


class Go(Suite):
    """The tests of a module are in the module; go.sum has its checksum."""

    def prepare(self):
        need("go")
        environment = dict(os.environ, GOFLAGS="-mod=readonly", CGO_ENABLED="0")
        self.fetch(["go", "test", "-c", "-tags", "integration", "-o", self.folder / "suite.test", self.package],
                   cwd=LOCKS / "go", env=environment)
        where = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", self.package], cwd=LOCKS / "go", env=environment,
                               capture_output=True, text=True, check=True).stdout.strip()
        (self.folder / "where").write_text(where)

    def run(self, environment):
        text = self.play([self.folder / "suite.test", "-test.v", f"-test.timeout={self.timeout_s - 10}s"],
                         (self.folder / "where").read_text(), environment)
        words = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}
        outcomes = {name: words[word] for word, name in re.findall(r"^ *--- (PASS|FAIL|SKIP): (\S+)", text, re.M)}
        for name in re.findall(r"^=== RUN +(\S+)$", text, re.M):
            outcomes.setdefault(name, "failed")  # it never ended
        return outcomes


class Npm(Suite):
    """Of versions whose package has its tests. package-lock.json has the checksum."""

    def prepare(self):
        need("node", "npm")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(LOCKS / "npm" / name, self.folder)
        self.fetch(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=self.folder)

    def run(self, environment):
        return read_tap(self.play(["node", "--test", "--test-reporter=tap"], self.unpacked(), environment))

    def unpacked(self):
        """Beside node_modules: the test runner passes over what is below it."""
        copy = self.folder / self.package
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder / "node_modules" / self.package, copy)
        return copy


def read_tap(text):
    """Of nested TAP: the leaves by their path. A `# Subtest:` opens what the next result of its depth closes."""
    outcomes, path, leaf = {}, [], True
    for line in text.splitlines():
        if opened := re.match(r"( *)# Subtest: (.*)", line):
            path, leaf = path[:len(opened[1]) // 4] + [opened[2]], True
        elif closed := re.match(r"( *)(ok|not ok) \d+ - (.*?)(?: # (SKIP|TO[D]O).*)?$", line):
            names = path[:len(closed[1]) // 4] + [closed[3]]
            if leaf:
                names = [pathlib.Path(name).name for name in names]
                outcomes[" > ".join(names)] = "skipped" if closed[4] else "passed" if closed[2] == "ok" else "failed"
            leaf = False
    return outcomes


class Pytest(Suite):
    """The source package has the tests; all of them share one environment, pinned by hashes."""

    def prepare(self):
        self.environment_for_all(self.folder.parent / "python")
        sources = self.folder / "sources"
        wanted = next(line for line in (LOCKS / "python/sources.txt").read_text().splitlines()
                      if line.startswith(self.package + "=="))
        (self.folder / "source.txt").write_text(wanted + "\n")
        self.fetch([self.python, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", self.package,
                    "--require-hashes", "-r", self.folder / "source.txt", "-d", sources],
                   env=dict(os.environ, PATH=f"{self.python.parent}:{os.environ['PATH']}"))
        (archive,) = sources.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(self.folder / "unpacked")

    @property
    def python(self):
        return self.folder.parent / "python/bin/python"

    def environment_for_all(self, where):
        locks = [LOCKS / "python" / name for name in ("tools.txt", "packages.txt")]
        stamp, text = where / "locks", "".join(path.read_text() for path in locks)
        if stamp.exists() and stamp.read_text() == text:
            return
        shutil.rmtree(where, ignore_errors=True)
        self.fetch([sys.executable, "-m", "venv", where])
        for path in locks:
            self.fetch([self.python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--require-hashes", "-r", path])
        stamp.write_text(text)

    def run(self, environment):
        (root,) = (self.folder / "unpacked").iterdir()
        if "certificates" in self.about:
            shutil.copytree(environment["CERTIFICATES"], root / self.about["certificates"], dirs_exist_ok=True)
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        without = {"aiomisc", "pytest-rst", "rerunfailures"} - set(self.about.get("plugins", []))
        self.play([self.python, "-m", "pytest", "-q", "--rootdir", ".", f"--junitxml={report}", "--timeout=60",
                   *(word for name in sorted(without) for word in ("-p", f"no:{name}")), *self.about["tests"]],
                  root, environment)
        if not report.exists():
            return {}
        return {f"{case.get('classname')}.{case.get('name')}": outcome_of(case) for case in xml.parse(report).iter("testcase")}


def outcome_of(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


class Cargo(Suite):
    """A crate has its tests, and its own Cargo.lock for all that it needs. Its own checksum is in suites.toml."""

    def prepare(self):
        need("cargo")
        crate = self.folder / "unpacked"
        if not crate.exists():
            self.unpack(crate)
        self.fetch(["cargo", "test", "--locked", "--no-run"], cwd=crate, env=self.environment(os.environ))

    def unpack(self, crate):
        pin = self.folder / "pin"
        (pin / "src").mkdir(parents=True, exist_ok=True)
        (pin / "src/lib.rs").touch()
        (pin / "Cargo.toml").write_text(f'[package]\nname = "pin"\nversion = "0.0.0"\nedition = "2021"\n'
                                        f'[dependencies]\n{self.package} = "={self.version}"\n')
        self.fetch(["cargo", "generate-lockfile"], cwd=pin)
        found = re.search(rf'name = "{self.package}"\nversion = "{self.version}"\n.*\nchecksum = "(\w+)"',
                          (pin / "Cargo.lock").read_text())
        if not found or found[1] != self.about["sha256"]:
            raise AssertionError(f"the checksum of {self.package} is not the one in suites.toml")
        self.fetch(["cargo", "fetch"], cwd=pin)  # checks it against that of the lock
        described = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1"], cwd=pin, capture_output=True,
                                              check=True, text=True).stdout)
        manifest = next(p["manifest_path"] for p in described["packages"] if p["name"] == self.package)
        shutil.copytree(pathlib.Path(manifest).parent, crate)

    def environment(self, outer):
        return dict(outer, CARGO_TARGET_DIR=str(self.folder / "target"), CARGO_TERM_COLOR="never", RUST_LOG="error")

    def run(self, environment):
        text = self.play(["cargo", "test", "--locked", "--offline", "--no-fail-fast", "--", "--test-threads=1"],
                         self.folder / "unpacked", self.environment(environment))
        outcomes = {}
        for part in re.split(r"^ +(?:Running|Doc-tests) ", text, flags=re.M)[1:]:
            where = part.split("(")[0].split()[-1].removeprefix("tests/").removesuffix(".rs")
            failed = set(re.findall(r"^    (\S+)$", part.partition("\nfailures:\n")[2], re.M))
            for name, ignored in re.findall(r"^test (.+?) \.\.\. (ignored)?", part, re.M):
                outcomes[f"{where}::{name}"] = "skipped" if ignored else "failed" if name in failed else "passed"
        return outcomes


KINDS = {"go": Go, "npm": Npm, "pytest": Pytest, "cargo": Cargo}
