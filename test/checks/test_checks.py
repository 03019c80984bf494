#!/usr/bin/python3
"""The checks of the tree find what they are there for: each is given a small tree with one fault."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


class Checks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-checks-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("test/untested.txt", "# none\n")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_check(self, name):
        result = subprocess.run([SCRIPTS / name, self.root], capture_output=True, text=True, check=False)
        return result.returncode, result.stdout

    def assert_found(self, check, text):
        code, output = self.run_check(check)
        self.assertEqual(code, 1, output)
        self.assertIn(text, output)

    def assert_clean(self, check):
        self.assertEqual(self.run_check(check), (0, ""))

    def test_arrow_that_points_back(self):
        self.write("src/log/log.c", '#include "log/log.h"\n#include "engine/engine.h"\n')
        self.assert_found("check-arrows", "src/log/log.c:2:")

    def test_arrows_that_are_allowed(self):
        self.write("src/api/queue.c", '#include "http/server.h"\n#include "model/request.h"\n#include <time.h>\n')
        self.write("src/cli/main.c", '#include "app/app.h"\n#include "log/verify.h"\n')
        self.assert_clean("check-arrows")

    def test_state_of_the_model_is_private(self):
        self.write("src/engine/engine.c", '#include "model/state.h"\n')
        self.assert_found("check-arrows", "model/ only")

    def test_model_stays_pure(self):
        self.write("src/model/queue.c", "#include <time.h>\n")
        self.assert_found("check-arrows", "pure")
        self.write("src/model/queue.c", '#include "base/clock.h"\nuint64_t now = clock_wall_ns();\n')
        self.assert_found("check-arrows", "src/model/queue.c:2: clock_wall_ns()")
        self.write("src/model/queue.c", '#include "base/clock.h"\nuint64_t day = 86400 * NS_PER_SECOND;\n')
        self.assert_clean("check-arrows")

    def test_folder_without_arrows(self):
        self.write("src/cache/cache.c", "\n")
        self.assert_found("check-arrows", "cache/")

    def test_source_without_test(self):
        self.write("src/base/new.c", "\n")
        self.assert_found("check-tests", "src/base/new.c:1:")

    def test_test_that_is_not_built(self):
        self.write("src/base/new.c", "\n")
        self.write("test/unit/base/test_new.c", "\n")
        self.write("test/unit/base/meson.build", "foreach name : ['old']\n")
        self.assert_found("check-tests", "not named")
        self.write("test/unit/base/meson.build", "foreach name : ['old', 'new']\n")
        self.assert_clean("check-tests")

    def test_excuse_needs_a_reason_and_a_file(self):
        self.write("src/app/main.c", "\n")
        self.write("test/untested.txt", "src/app/main.c:\n")
        self.assert_found("check-tests", "no reason")
        self.write("test/untested.txt", "src/app/main.c: test/e2e starts it\n")
        self.assert_found("check-tests", "test/e2e does not exist")
        self.write("test/e2e/test_start.py", "")
        self.assert_clean("check-tests")
        self.write("test/untested.txt", "src/app/main.c: test/e2e\nsrc/app/gone.c: test/e2e\n")
        self.assert_found("check-tests", "does not exist")
        self.write("test/untested.txt", "src/app/main.c: test/e2e\n" * 2)
        self.assert_found("check-tests", "src/app/main.c stands there 2 times")

    def test_page_that_names_what_is_gone(self):
        self.write("src/log/log.h", "int log_open(void);\n")
        self.write("GNUmakefile", "test: ; true\n")
        self.write("src/api/metrics.c", 'PUT("sluice_sent_total");\n')
        self.write("src/cli/top.c", '{"campaign", required_argument, NULL, 1},\n')
        self.write("docs/log.md", "")
        self.write("ARCHITECTURE.md", "`src/log/log.h`, `log.h` has `log_open`; `make test`; [more](docs/log.md); "
                   "`sluice_sent_total`; `sluice top --campaign x`\n```\nsluice top --help\n```\n")
        self.assert_clean("check-docs")
        for gone, said in [("`src/log/gone.c`", "no src/log/gone.c"), ("`gone.h`", "no gone.h"), ("`log_gone`", "called log_gone"),
                           ("[gone](docs/gone.md)", "docs/gone.md leads nowhere"), ("`make gone`", "no target gone"),
                           ("sluice_gone_total", "no metric sluice_gone_total"), ("sluice top --gone", "no option --gone")]:
            self.write("CONTRIBUTING.md", gone + "\n")
            self.assert_found("check-docs", said)

    def test_what_has_no_place_on_its_page(self):
        self.write("docs/configuration.md", "`dataDirectory`\n")
        self.write("src/app/config/settings.c", '{"dataDirectory", FIELD_TEXT},\nCOUNT_FIELD("queues", x),\n{"null", NULL},\n')
        self.assert_found("check-docs", "docs/configuration.md: does not tell of queues")
        self.write("src/app/config/settings.c", '{"dataDirectory", FIELD_TEXT},\n')
        self.assert_clean("check-docs")
        self.write("src/api/problem.h", 'X(GONE, "all-gone", 410, "")\n')
        self.assert_found("check-docs", "docs/http-api.md: does not tell of all-gone")
        self.write("src/api/problem.h", "")
        self.write("src/model/fact.h", "X(STOCK_GONE, 0x0203, 1)\n")
        self.assert_found("check-docs", "docs/format/facts.md: does not tell of STOCK_GONE")

    def test_length_of_functions(self):
        body = "    x++;\n"
        declaration = "int declared(int a,\n             int b);\n"
        self.write("src/base/short.c", declaration + "int f(void) {\n" + body * 20 + "}\n")
        self.assert_clean("check-functions")
        self.write("src/base/long.c", "static int g(int a,\n             int b) {\n" + body * 130 + "}\n")
        self.assert_found("check-functions", "src/base/long.c:1: g has 133 lines")


if __name__ == "__main__":
    sys.exit(unittest.main())
