"""A torn tail is cut off and said; anything else that is not what was written is refused, named and never delivered."""
import pytest
from support import server as program
from support.wait import until


@pytest.fixture
def stopped(make_server):
    """A killed server (no snapshot) with a hundred acknowledged messages."""
    server = make_server().start()
    server.client.define("queues", "mail")
    until(lambda: (audit := server.client.get("/v1/audit").json)["written"] == audit["count"], 10, "a quiet log")
    for n in range(100):
        assert server.client.publish("mail", {"n": n, "text": "x" * 100}).status == 202
    server.kill()
    return server


def segment(server):
    """The last segment that has records; the ones allocated ahead are empty."""
    segments = sorted((server.data / "log").glob("*.seg"))
    used = [path for path in segments if end_of(path) > 64]
    return used[-1]


def end_of(path):
    """Offset behind the last record: records follow one another, the first length of 0 ends them."""
    data, at = path.read_bytes(), 64
    while at + 40 <= len(data):
        length = int.from_bytes(data[at:at + 4], "little")
        if not 40 <= length <= len(data) - at:
            break
        at += length
    return at


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_sound_log(stopped):
    result = program.run("log", "verify", stopped.data)
    assert result.returncode == 0 and "given up" not in result.stdout, result
    stat = program.run("log", "stat", stopped.data)
    assert stat.returncode == 0 and "MESSAGE_PUT                         100" in stat.stdout, stat
    dump = program.run("log", "dump", stopped.data)
    assert dump.stdout.count("MESSAGE_PUT") == 100


def test_torn_tail_is_cut_off(stopped):
    path = segment(stopped)
    end = end_of(path)
    with open(path, "r+b") as file:  # half a record, as a power cut leaves it
        file.truncate(end - 30)
    assert program.run("log", "verify", stopped.data).returncode == 0, "a torn tail is no damage"
    stopped.start()
    assert "cut a torn tail" in stopped.output()
    assert f"{path.name} ends at byte {end - 30}, without the room that stands behind" in stopped.output()
    assert stopped.client.queue("mail")["stats"]["ready"] == 99
    assert stopped.client.publish("mail", {"n": 100}).status == 202
    stopped.output_path.unlink()
    stopped.kill()
    stopped.start()
    assert "report=" not in stopped.output(), "a kill cuts nothing off"


def test_flipped_bit_is_refused_and_named(stopped):
    path = segment(stopped)
    offset = 64 + (end_of(path) - 64) // 2
    flip(path, offset)
    verify = program.run("log", "verify", stopped.data)
    assert verify.returncode == 1 and path.name in verify.stdout + verify.stderr, verify
    stopped.launch()
    assert stopped.wait_end() != 0
    output = stopped.output()
    assert path.name in output and "verify" in output, output


def test_salvage_is_a_choice_and_says_what_it_dropped(stopped):
    path = segment(stopped)
    flip(path, 64 + (end_of(path) - 64) // 2)
    stopped.start("--salvage")
    assert "gave up" in stopped.output() and path.name in stopped.output(), stopped.output()
    ready = stopped.client.queue("mail")["stats"]["ready"]
    assert 90 <= ready < 100
    stopped.kill()  # whoever did not see that line can still find it out
    verify = program.run("log", "verify", stopped.data)
    assert verify.returncode == 0 and f"\n{100 - ready} of them were given up by --salvage, positions" in verify.stdout, verify


def test_a_damaged_end_that_a_snapshot_knows_is_not_called_sound(stopped):
    stopped.start()
    assert stopped.client.publish("mail", {"last": 1}).status == 202
    assert stopped.stop() == 0  # with a snapshot of all
    assert program.run("log", "verify", stopped.data).returncode == 0
    path = segment(stopped)
    flip(path, end_of(path) - 5)
    damaged = path.read_bytes()
    for _ in ("before", "after"):  # a start
        result = program.run("log", "verify", stopped.data)
        assert result.returncode == 1 and "DAMAGED: a snapshot rests on position" in result.stdout, result
        stopped.launch()
        assert stopped.wait_end() == 1, stopped.output()
        assert f"{path.name}: the record at offset" in stopped.output() and "--salvage" in stopped.output()
        assert path.read_bytes() == damaged
    stopped.start("--salvage")
    assert "gave up" in stopped.output() and path.name in stopped.output(), stopped.output()
    assert stopped.client.queue("mail")["stats"]["ready"] == 101  # the snapshot knows it; its body is lost
    assert stopped.client.publish("mail", {"behind": 1}).status == 202
    assert stopped.stop() == 0
    stopped.start()
    assert stopped.client.queue("mail")["stats"]["ready"] == 102
    assert stopped.stop() == 0
    assert program.run("log", "verify", stopped.data).returncode == 0


def test_flip_under_a_running_server_is_never_delivered(make_server, make_provider):
    """A body is checked before it is sent or shown: the provider never sees a changed one."""
    provider = make_provider()
    server = make_server().start()
    client = server.client
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True)
    client.define("queues", "mail", destination="far", paused=True)
    ids = [client.publish("mail", {"n": n, "text": "x" * 1000}).json["receipt"] for n in range(20)]
    path = segment(server)
    data = path.read_bytes()
    flip(path, data.index(b"x" * 1000) + 500)
    shown = client.get(f"/v1/queues/mail/messages/{ids[0]}?view=full")
    assert b"h" not in shown.body or shown.status >= 500 or b"x" * 1000 not in shown.body
    client.post("/v1/queues/mail:resume")
    from support.wait import until
    until(lambda: client.queue("mail")["stats"]["dead"] == 1 and len(provider.effects) == 19, 20,
          "nineteen sent and one dead")
    assert all(set(seen.json["text"]) == {"x"} for seen in provider.seen)


def test_segment_that_is_missing(make_server):
    """A log with a hole is refused, at the front as well, and `log verify` says so: nobody may take what is left for the whole."""
    server = make_server({"log": {"segmentBytes": 65536}}).start()
    server.client.define("queues", "mail")
    for n in range(300):
        server.client.publish("mail", {"n": n, "text": "x" * 1000})
    server.kill()
    segments = sorted((server.data / "log").glob("*.seg"))
    assert len(segments) > 4
    for missing in (segments[1], segments[0], segments[2]):
        kept = missing.read_bytes()
        missing.unlink()
        verify = program.run("log", "verify", server.data)
        assert verify.returncode == 1 and "no snapshot covers them" in verify.stdout, verify
        server.launch()
        assert server.wait_end() != 0, f"started without {missing.name}"
        missing.write_bytes(kept)
    assert program.run("log", "verify", server.data).returncode == 0
    server.start()


def test_salvage_behind_a_damaged_head(make_server):
    """What stood behind it depends on what nobody can read: all of it is given up, said, and not there at the next start either."""
    server = make_server({"log": {"segmentBytes": 65536}}).start()
    server.client.define("queues", "mail")
    ids = [server.client.publish("mail", {"n": n, "text": "x" * 1000}).json["receipt"] for n in range(300)]
    server.kill()
    segments = sorted((server.data / "log").glob("*.seg"))
    flip(segments[2], 20)
    first = int(segments[2].stem, 16)
    before = sum(int(i[1:], 16) // 64 < first for i in ids)
    server.launch()
    assert server.wait_end() == 1 and segments[2].name in server.output(), server.output()
    server.start("--salvage")
    last = max(int(i[1:], 16) // 64 for i in ids)
    assert f"gave up positions {first} to {last}: the log" in server.output(), server.output()
    assert server.client.queue("mail")["stats"]["ready"] == before
    later = server.client.publish("mail", {"later": 1}).json["receipt"]
    assert later not in ids, "no number is given twice"
    server.kill()
    server.start()
    assert server.client.queue("mail")["stats"]["ready"] == before + 1
    assert server.client.get(f"/v1/queues/mail/messages/{ids[0]}?view=body").status == 200


def test_salvage_of_a_segment_that_was_cut_off(make_server):
    """One of the middle: what is left of it is kept, and the positions that it had stay taken."""
    server = make_server({"log": {"segmentBytes": 65536}}).start()
    server.client.define("queues", "mail")
    ids = [server.client.publish("mail", {"n": n, "text": "x" * 1000}).json["receipt"] for n in range(200)]
    server.kill()
    cut = sorted((server.data / "log").glob("*.seg"))[1]
    with open(cut, "r+b") as file:
        file.truncate(3000)
    server.launch()
    assert server.wait_end() == 1, server.output()
    server.start("--salvage")
    assert f"of {cut.name} from position" in server.output(), server.output()
    kept = server.client.queue("mail")["stats"]["ready"]
    assert 100 < kept < 200
    assert server.client.publish("mail", {"later": 1}).json["receipt"] not in ids
    server.kill()
    server.start()
    assert server.client.queue("mail")["stats"]["ready"] == kept + 1
    assert server.client.get(f"/v1/queues/mail/messages/{ids[-1]}?view=body").status == 200


def test_a_start_that_is_refused_says_what_it_cut(make_server):
    """The next one finds nothing to cut, and could not say that the copy is not whole."""
    server = make_server({"log": {"segmentBytes": 65536}}).start()
    server.client.define("queues", "mail")
    for n in range(200):
        server.client.publish("mail", {"n": n, "text": "x" * 1000})
    server.kill()
    last = segment(server)
    flip(max(path for path in (server.data / "log").glob("*.seg") if path < last), 30000)
    with open(last, "r+b") as file:
        file.truncate(end_of(last) // 2)
    server.launch()
    assert server.wait_end() == 1, server.output()
    assert f"{last.name} ends at byte" in server.output(), server.output()


def test_segment_that_is_missing_before_the_snapshot(make_server):
    """A start does not read it, and bodies in use are lost with it: it is said and counted. `log verify` cannot tell it from one given back."""
    server = make_server({"log": {"segmentBytes": 65536}}).start()
    server.client.define("queues", "mail")
    ids = [server.client.publish("mail", {"n": n, "text": "x" * 1000}).json["receipt"] for n in range(300)]
    assert server.stop() == 0  # with a snapshot of all
    segments = sorted((server.data / "log").glob("*.seg"))
    kept = segments[2].read_bytes()
    segments[2].unlink()
    server.start()
    assert "the log is damaged: 1 segments are missing" in server.output(), server.output()
    assert "\nsluice_log_damaged 1\n" in server.client.get("/metrics").body.decode()
    answers = [server.client.get(f"/v1/queues/mail/messages/{i}?view=body").status for i in ids]
    assert 0 < answers.count(404) < 100 and answers.count(200) == 300 - answers.count(404)
    server.kill()
    segments[2].write_bytes(kept)
    server.output_path.unlink()
    server.start()
    assert "damaged" not in server.output()
    assert all(server.client.get(f"/v1/queues/mail/messages/{i}?view=body").status == 200 for i in ids)


def test_data_of_a_newer_version(stopped):
    path = segment(stopped)
    with open(path, "r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))
    stopped.launch()
    assert stopped.wait_end() != 0
