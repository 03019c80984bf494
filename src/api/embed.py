#!/usr/bin/env python3
"""Writes the files of a folder as C arrays: embed.py <folder> <output.c>.

The output is only touched when it changes, so that nothing is compiled again without need.
"""
import hashlib
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".ico": "image/x-icon",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


def array(number, data):
    lines = [", ".join(f"0x{b:02x}" for b in data[i:i + 16]) for i in range(0, len(data), 16)]
    return f"static const unsigned char data_{number}[] = {{\n" + ",\n".join(lines or ["0"]) + "};\n"


def main(folder, output):
    folder, output = pathlib.Path(folder), pathlib.Path(output)
    files = sorted(f for f in folder.glob("*") if f.suffix in TYPES and f.is_file())
    arrays, rows = [], []
    for number, file in enumerate(files):
        data = file.read_bytes()
        tag = hashlib.sha256(data).hexdigest()[:16]
        arrays.append(array(number, data))
        rows.append(f'    {{"{file.name}", "{TYPES[file.suffix]}", data_{number}, {len(data)}, '
                    f'"\\"{tag}\\""}},\n')
    rows.append("    {0, 0, 0, 0, 0},\n")
    text = ('/* Made by embed.py. */\n#include "api/assets.h"\n\n' + "\n".join(arrays) +
            "\nconst struct asset assets[] = {\n" + "".join(rows) +
            f"}};\nconst size_t asset_count = {len(files)};\n")
    if not output.exists() or output.read_text() != text:
        output.write_text(text)


main(sys.argv[1], sys.argv[2])
