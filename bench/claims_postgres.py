#!/usr/bin/python3
"""First-come claims beside PostgreSQL doing each in one transaction.

PostgreSQL: a cluster of its own with default settings but for the number of connections (an answer follows the flush, like ours); insert the entry unless it
is there, take a unit while some are left, insert the outbox row, commit. Loaded by pgbench. Ours: entries of a campaign with a
queue, loaded by wrk, with the same number of connections; in the end each at the number that suits it.
"""
import os
import pathlib
import re
import subprocess

import common

CLIENTS = (1, 16, 64, 256)
HEADLINE = 256  # the budget holds at the connections of a burst, and beside PostgreSQL at its best
SCHEMA = """
create table stock (name text primary key, used bigint not null, total bigint not null);
insert into stock values ('units', 0, 100000000000);
create table entry (member text primary key, number bigint not null, at timestamptz not null default now());
create table outbox (id bigserial primary key, member text not null, body text not null);
create function claim(who text) returns bigint language plpgsql as $$
declare n bigint;
begin
  insert into entry values (who, 0) on conflict do nothing;
  if not found then return -1; end if;
  update stock set used = used + 1 where name = 'units' and used < total returning used into n;
  if not found then raise exception 'sold out'; end if;
  update entry set number = n where member = who;
  insert into outbox (member, body) values (who, '{"survey":[1,4,2]}');
  return n;
end $$;
"""
SCRIPT = "\\set r random(1, 1000000000000)\nselect claim('member-' || :r);\n"


def binaries():
    """Debian keeps them out of PATH, by version."""
    return sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]


class Postgres:
    def __init__(self, folder):
        self.folder, self.port = folder, common.free_port()
        # It refuses to run as root.
        self.prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.prefix:
            subprocess.run(["chown", "postgres", str(folder)], check=True)
        self.run("initdb", "-D", folder / "data", "-A", "trust", "-U", "bench")
        self.run("pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o",
                 f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c max_connections=300", "start")
        (folder / "schema.sql").write_text(SCHEMA)
        (folder / "claim.sql").write_text(SCRIPT)
        self.run("psql", *self.address(), "-q", "-f", folder / "schema.sql")

    def address(self):
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "postgres"]

    def run(self, name, *arguments):
        return subprocess.run([*self.prefix, str(binaries() / name), *map(str, arguments)], cwd=self.folder,
                              capture_output=True, text=True, check=True).stdout

    def rate(self, clients):
        output = self.run("pgbench", "-n", "-f", self.folder / "claim.sql", "-c", clients, "-j", min(clients, 2),
                          "-T", max(1, round(common.SECONDS)), *self.address())
        return float(re.search(r"tps = ([0-9.]+)", output)[1])

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        (folder / "postgres").mkdir()
        postgres, server = Postgres(folder / "postgres"), common.Server(folder / "sluice").start()
        try:
            entries = common.campaign(server.client, queue="sent")
            common.settle(server.client)
            for clients in CLIENTS:
                one = common.in_turns(
                    lambda turn: common.wrk(server.port, entries, "entry", f"c{clients}t{turn}", clients)["rate"],
                    lambda turn: postgres.rate(clients))
                result[str(clients)] = one
                text = f"claims/s {one['a']:,.0f}, PostgreSQL {one['b']:,.0f}, at {clients} connections"
                counts = clients == HEADLINE
                result["rows"].append(common.row(text, f"{one['ratio']:.1f} x", ">= 40 x" if counts else "-",
                                                 one["ratio"] >= 40 or not counts))
            clients = max(CLIENTS, key=lambda count: result[str(count)]["b"])
            one = result["best"] = common.in_turns(
                lambda turn: common.wrk(server.port, entries, "entry", f"best{turn}", 256)["rate"],
                lambda turn: postgres.rate(clients))
            result["rows"].append(common.row(
                f"claims/s {one['a']:,.0f} at 256, PostgreSQL {one['b']:,.0f} at {clients}, where it is best",
                f"{one['ratio']:.1f} x", ">= 40 x", one["ratio"] >= 40))
        finally:
            server.kill()
            postgres.stop()
    common.write("postgres", result)
    return result


if __name__ == "__main__":
    main()
