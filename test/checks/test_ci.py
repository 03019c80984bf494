#!/usr/bin/python3
"""What CI says when something is wrong: .ci/run with a make of our own, scripts/run-fuzz with fuzzers of our own."""
import base64
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUZZER = """#!/bin/sh
for argument; do case $argument in -artifact_prefix=*) folder=${argument#*=} ;; esac; done
%s
"""


class Ci(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-ci-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def put(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_ci(self, test, fuzz, tools="exit 0"):
        """(exit status, lines) of .ci/run in a tree where make does as told."""
        self.put(".ci/run", (ROOT / ".ci/run").read_text())
        self.put("scripts/install-deps", f"#!/bin/sh\n{tools}\n")
        self.put("bin/make", f"#!/bin/sh\ncase $1 in test)\n{test}\n;; fuzz)\n{fuzz}\n;; esac\n")
        environment = dict(os.environ, PATH=f"{self.root}/bin:{os.environ['PATH']}")
        result = subprocess.run([self.root / ".ci/run"], env=environment, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout.splitlines()

    def test_sum_of_both(self):
        code, lines = self.run_ci("echo 7 passed, 0 failed", "echo 16 passed, 0 failed")
        self.assertEqual((code, lines[-1]), (0, "23 passed, 0 failed"))

    def test_first_failure_is_the_status(self):
        code, lines = self.run_ci("echo 7 passed, 2 failed; exit 3", "echo error; exit 1")
        self.assertEqual((code, lines[-1]), (3, "7 passed, 3 failed"))
        code, lines = self.run_ci("echo 7 passed, 0 failed", "echo 16 passed, 0 failed; exit 1")
        self.assertEqual((code, lines[-1]), (1, "23 passed, 1 failed"))

    def test_what_fuzzing_finds_is_told_and_fails_nothing(self):
        code, lines = self.run_ci("echo 7 passed, 0 failed", "echo trace; echo 15 passed, 1 failed; exit 2")
        self.assertEqual((code, lines[-1]), (0, "22 passed, 0 failed"))
        self.assertIn("FUZZING FOUND something in 1 of its targets", lines[-2])
        self.assertIn("trace", lines)
        code, lines = self.run_ci("echo 7 passed, 1 failed; exit 3", "echo 15 passed, 1 failed; exit 2")
        self.assertEqual((code, lines[-1]), (3, "22 passed, 1 failed"))

    def test_what_does_not_build_has_failed(self):
        code, lines = self.run_ci("echo error; exit 2", "echo 16 passed, 0 failed")
        self.assertEqual((code, lines[-1]), (2, "16 passed, 1 failed"))
        code, lines = self.run_ci("echo 7 passed, 0 failed; exit 2", "echo error; exit 2")
        self.assertEqual((code, lines[-1]), (2, "7 passed, 2 failed"))

    def test_without_a_compiler_for_it_says_so(self):
        code, lines = self.run_ci("echo 7 passed, 0 failed", "exit 1", tools="exit 1")
        self.assertEqual((code, lines[-1]), (0, "7 passed, 0 failed"))
        self.assertIn("NOT FUZZED", lines[-2])

    def run_fuzz(self, script):
        """(exit status, output) of run-fuzz with a target that is built and does as told."""
        self.put("scripts/run-fuzz", (ROOT / "scripts/run-fuzz").read_text())
        self.put("meson.build", "project('x', version: '1.2.3')\n")
        self.put("test/fuzz/fuzz_toy.c", "")
        (self.root / "test/fuzz/corpus/toy").mkdir(parents=True, exist_ok=True)
        self.put("build/build.ninja", "")
        self.put("build/test/fuzz/fuzz_toy", FUZZER % script)
        self.put("bin/ninja", "#!/bin/sh\n")
        environment = dict(os.environ, PATH=f"{self.root}/bin:{os.environ['PATH']}", FUZZ_SECONDS="1")
        result = subprocess.run([self.root / "scripts/run-fuzz", self.root / "build"], env=environment, capture_output=True,
                                text=True, check=False)
        return result.returncode, result.stdout

    def test_input_found_can_be_taken_from_the_output(self):
        code, output = self.run_fuzz("printf 'a\\000\\377b' >$folder/crash-1; echo 'x.c:3: Assertion `y` failed.'; exit 77")
        self.assertEqual((code, output.splitlines()[-1]), (1, "0 passed, 1 failed"))
        self.assertIn("x.c:3: Assertion", output)
        begin = output.index("base64 -d >test/fuzz/corpus/toy/crash-1 <<END\n")
        lines = output[begin:].splitlines()
        self.assertEqual(base64.b64decode("".join(lines[1:lines.index("END")])), b"a\0\xffb")
        self.assertIn("make fuzz TARGETS=toy", output)

    def test_end_without_an_input(self):
        code, output = self.run_fuzz("echo cannot start; exit 1")
        self.assertEqual((code, output.splitlines()[-1]), (1, "0 passed, 1 failed"))
        self.assertIn("cannot start", output)

    def test_busy_machine_is_no_finding(self):
        """What merely took long is kept by libFuzzer, too, and the target goes on."""
        code, output = self.run_fuzz("echo slow >$folder/slow-unit-1; exit 0")
        self.assertEqual((code, output.splitlines()[-1]), (0, "1 passed, 0 failed"))


if __name__ == "__main__":
    sys.exit(unittest.main())
