#!/usr/bin/python3
"""Each line of SECURITY.md that says what somebody may not do names a test, and each test that is named is there."""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
SHORT = {name: ROOT / path for name, path in re.findall(r"(\w+) `(test/e2e/[\w.]+)`", TEXT)}


def rows():
    """(heading, cells) of the tables that have a column `attacked by`."""
    heading, column = "", None
    for line in TEXT.splitlines():
        if line.startswith("#"):
            heading, column = line, None
        elif not line.startswith("|"):
            column = None
        else:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if "attacked by" in cells:
                column = cells.index("attacked by")
            elif column is not None and not set(line) <= set("|- "):
                yield heading, cells, cells[column]


def named(cell):
    """(path, test or None) of each test in a cell."""
    for path, _, test in re.findall(r"`([\w/.]+)`(::(\w+))?", cell):
        yield ROOT / path, test or None
    for short, test in re.findall(r"(?<![`\w])(\w+)::(\w+)", cell):
        yield SHORT[short], test


class SecurityLines(unittest.TestCase):
    def test_there_are_many(self):
        self.assertGreater(len(list(rows())), 35)

    def test_each_line_names_a_test(self):
        for heading, cells, cell in rows():
            self.assertTrue(list(named(cell)), f"{heading}: {cells[0]}: nothing attacks it")

    def test_each_test_is_there(self):
        for _, cells, cell in rows():
            for path, test in named(cell):
                self.assertTrue(path.is_file(), f"{cells[0]}: no {path}")
                if test is not None:
                    found = re.search(rf"\b(def|static void) {test}\b", path.read_text())
                    self.assertTrue(found, f"{cells[0]}: no {test} in {path}")


if __name__ == "__main__":
    sys.exit(unittest.main())
