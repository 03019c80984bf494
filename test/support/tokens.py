"""Tokens for tests, made by the program itself."""
from . import server as program
from .client import Client


def new_token():
    """(token, hash): the token alone on standard output, what to configure beside it."""
    result = program.run("token", "new")
    assert result.returncode == 0, result
    kept = next(word.strip('"') for word in result.stderr.split() if word.startswith('"blake2b:'))
    return result.stdout.strip(), kept


class Tokens:
    """Named tokens: entries for the configuration, and a client for each."""

    def __init__(self):
        self.entries, self.secrets = [], {}

    def add(self, name, *scopes, resources=None):
        self.secrets[name], kept = new_token()
        entry = {"name": name, "hash": kept, "scopes": list(scopes)}
        if resources is not None:
            entry["resources"] = resources
        self.entries.append(entry)
        return self

    def client(self, server, name):
        return Client(server.port, token=self.secrets.get(name))
