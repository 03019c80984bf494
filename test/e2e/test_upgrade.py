"""A data folder written by any release is opened by this one: same answers, no fact lost, and work goes on.

The fixtures are made by test/fixtures/upgrade/make, once for each release, and never changed afterwards."""
import gzip
import json
import os
import pathlib
import sys
import tarfile

import pytest
from support import log_file, server as program

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures/upgrade"
sys.path.insert(0, str(FIXTURES))
import questions  # noqa: E402

RELEASES = sorted(path.parent.name for path in FIXTURES.glob("*/manifest.json"))
FOLDERS = ("whole", "whole without its snapshot", "compacted")

def unpack(release, folder, data):
    """The data folder as the release left it."""
    name = folder.split()[0]
    data.mkdir(parents=True)
    with gzip.open(FIXTURES / release / f"{name}.tar.gz") as packed, tarfile.open(fileobj=packed) as archive:
        for entry in archive:
            target = data / entry.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(archive.extractfile(entry).read())
    if "without" in folder:
        for path in (data / "snapshot").iterdir():
            path.unlink()
    return json.loads((FIXTURES / release / f"{name}.json").read_text())

def check_answers(client, expected):
    for question in expected:
        found = questions.ask(client, question)
        if questions.has_ended(question, found):
            continue
        difference = questions.difference(questions.still_right(question), found)
        assert difference is None, f"{question['method']} {question['path']}: {difference}"

def go_on(client):
    """New work on what was there."""
    mail = client.post("/v1/queues/new/messages", {"n": 1})
    assert mail.status == 404
    client.define("queues", "new", paused=True)
    receipts = [client.publish("new", {"n": n}).json["receipt"] for n in range(20)]
    stocks = [row["name"] for row in client.get("/v1/stocks").json["stocks"]]
    for stock in stocks:
        assert client.reserve(stock, "after-the-upgrade", "somebody").status == 201
    return receipts, stocks

@pytest.mark.parametrize("arguments", [(), ("--paranoid",)], ids=["plain", "paranoid"])
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("release", RELEASES)
def test_folder_of_a_release(make_server, release, folder, arguments):
    server = make_server()
    expected = unpack(release, folder, server.data)
    server.start(*arguments)
    check_answers(server.client, expected)
    receipts, stocks = go_on(server.client)
    numbers = {stock: server.client.get(f"/v1/stocks/{stock}/reservations/after-the-upgrade").json["number"]
               for stock in stocks}
    server.kill()
    verify = program.run("log", "verify", server.data)
    assert verify.returncode == 0, verify
    server.start(*arguments)
    kept = server.client.get("/v1/queues/new/messages?page_size=100").json["messages"]
    assert [row["id"] for row in kept] == receipts
    for stock, number in numbers.items():
        assert server.client.get(f"/v1/stocks/{stock}/reservations/after-the-upgrade").json["number"] == number
    check_answers(server.client, [question for question in expected if question["method"] == "POST"])
    assert server.stop() == 0

@pytest.mark.parametrize("release", RELEASES)
def test_facts_are_what_the_document_says(tmp_path, release):
    """The bytes, read by docs/format/log.md and by nothing of the program, are the facts that were kept as text."""
    unpack(release, "whole", tmp_path / "data")
    kept = (FIXTURES / release / "facts.txt").read_text().splitlines()[1:]
    found = []
    for record in log_file.records(tmp_path / "data"):
        found.append(f"@ {record.position} {record.time_ns} {record.address}")
        found += [f"{fact.kind:04x} {fact.version} {fact.payload.hex() or '-'}" for fact in record.facts]
    assert found == kept
    manifest = json.loads((FIXTURES / release / "manifest.json").read_text())
    for snapshot in (tmp_path / "data/snapshot").iterdir():
        file, model, sections = log_file.snapshot_sections(snapshot)
        assert (file, model) == (manifest["files"]["snapshot"], manifest["files"]["model"])
        assert {str(module): version for module, version in sections.items()} == manifest["sections"]

def test_a_fixture_is_small():
    for release in RELEASES:
        size = sum(os.path.getsize(path) for path in (FIXTURES / release).iterdir())
        assert size < 300_000, release
