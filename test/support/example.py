"""The examples as they stand, run with other addresses and, where a test has no patience for it, other times."""
import pathlib

from .server import Server

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples"


class Example(Server):
    """`changes` are texts of the file and what stands there instead; each must be in it, so none goes stale."""

    def __init__(self, folder, name, changes):
        self.text = (FOLDER / name / "sluice.yaml").read_text()
        self.changes = changes
        super().__init__(folder)

    def configure(self, changes):
        assert not changes, "an example is not configured further"
        text = self.text
        for old, new in {**self.changes, "port: 8080": f"port: {self.port}"}.items():
            assert old in text, f"the example has no {old!r}"
            text = text.replace(old, new)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(text)


def redefine(client, kind, name, **fields):
    """Some fields of a definition at run time, the others as they are."""
    shown = client.get(f"/v1/{kind}/{name}").json
    shown.pop("stats")
    return client.define(kind, name, **{**{k: v for k, v in shown.items() if k != "name"}, **fields})
