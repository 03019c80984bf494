#!/usr/bin/python3
"""Starts simulator runs from the data folders that earlier releases wrote, for each in test/fixtures/upgrade.

Usage: test/sim/test_upgrade.py PATH-OF-SIM [seeds a folder]
"""
import pathlib
import subprocess
import sys
import tarfile
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures/upgrade"


def main():
    sim, seeds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "12"
    archives = sorted(FIXTURES.glob("*/*.tar.gz"))
    failed = 0
    for archive in archives:
        with tempfile.TemporaryDirectory(prefix="sluice-sim-") as folder:
            with tarfile.open(archive) as tar:
                tar.extractall(folder)
            print(f"from {archive.relative_to(FIXTURES)}:", flush=True)
            failed += subprocess.run([sim, "--seeds", seeds, "--import", folder]).returncode != 0
    return 1 if failed or not archives else 0


if __name__ == "__main__":
    sys.exit(main())
