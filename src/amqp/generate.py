#!/usr/bin/env python3
"""Makes the codec out of the protocol's definition: generate.py <definition> <methods.h> <methods.c>.

The format of the definition stands at its top. What comes out are plain structs and, for each method, one
function that reads it and one that writes it; spans in a struct borrow from the bytes that were read.
"""
import sys

# C type, bytes of a fixed size or of the length before the content.
TYPES = {
    "bit": ("bool", 0), "octet": ("uint8_t", 1), "short": ("uint16_t", 2), "long": ("uint32_t", 4),
    "longlong": ("uint64_t", 8), "timestamp": ("uint64_t", 8),
    "shortstr": ("struct span", 1), "longstr": ("struct span", 4), "table": ("struct span", 4),
}
NUMBERS = {"octet": "u8", "short": "u16", "long": "u32", "longlong": "u64", "timestamp": "u64"}


def c_name(name):
    return name.replace("-", "_")


class Method:
    def __init__(self, owner, words, extension):
        self.owner, self.name, self.number = owner, words[1], int(words[2])
        self.sender, self.content, self.extension = words[3], words[4:] == ["content"], extension
        self.fields = []

    ident = property(lambda self: c_name(f"{self.owner['name']}_{self.name}"))
    constant = property(lambda self: "AMQP_" + self.ident.upper())
    named = property(lambda self: [(n, t) for n, t in self.fields if n != "-"])


def parse(path):
    codes, classes, fields = [], [], None
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        words = line.partition("#")[0].split()
        extension = words[:1] == ["x"]
        words = words[extension:]
        if not words:
            continue
        if words[0] == "code":
            codes.append((words[1], int(words[2]), words[3]))
        elif words[0] == "class":
            classes.append({"name": words[1], "id": int(words[2]), "methods": [], "properties": []})
        elif words[0] == "properties":
            fields = classes[-1]["properties"]
        elif words[0] == "method":
            method = Method(classes[-1], words, extension)
            classes[-1]["methods"].append(method)
            fields = method.fields
        elif len(words) == 2 and words[1] in TYPES:
            fields.append((words[0], words[1]))
        else:
            sys.exit(f"{path}:{number}: not understood: {line.strip()}")
    return codes, classes


# ---- the header ----

def struct(name, fields):
    rows = "".join(f"    {TYPES[t][0]} {c_name(n)};\n" for n, t in fields)
    return f"struct amqp_{name} {{\n{rows}}};\n\n"


def header(codes, classes):
    methods = [m for c in classes for m in c["methods"]]
    out = ["/* Made by amqp/generate.py. The functions of these structs stand in amqp/codec.h. */\n"
           "#ifndef SLUICE_AMQP_METHODS_H\n#define SLUICE_AMQP_METHODS_H\n\n"
           '#include <stdbool.h>\n\n#include "base/span.h"\n\n']
    out.append("/* NAME, number, does it close the connection. */\n#define AMQP_CODE_TABLE(X) \\\n")
    out.append(" \\\n".join(f"    X({c_name(n).upper()}, {v}, {'true' if w == 'connection' else 'false'})"
                            for n, v, w in codes) + "\n\n")
    out.append("enum amqp_code {\n" + "".join(f"    AMQP_{c_name(n).upper()} = {v},\n" for n, v, _ in codes) + "};\n\n")
    out.append("enum amqp_class {\n" + "".join(f"    AMQP_CLASS_{c['name'].upper()} = {c['id']},\n" for c in classes)
               + "};\n\n")
    out.append("/* Class in the high half. */\nenum amqp_method_id {\n")
    out += [f"    {m.constant} = 0x{m.owner['id']:04x}{m.number:04x},\n" for m in methods]
    out.append("};\n\n")
    out += [struct(m.ident, m.named) for m in methods if m.named]
    out.append("/* `as` has a member for each method that has fields. */\nstruct amqp_method {\n"
               "    enum amqp_method_id id;\n    union {\n")
    out += [f"        struct amqp_{m.ident} {m.ident};\n" for m in methods if m.named]
    out.append("    } as;\n};\n\n")
    for c in classes:
        if c["properties"]:
            for i, (name, _) in enumerate(c["properties"]):
                out.append(f"#define AMQP_HAS_{c_name(name).upper()} 0x{0x8000 >> i:04x}u\n")
            out.append("/* Those whose AMQP_HAS_ bit is set; the others are zero. */\n")
            out.append(struct("properties", c["properties"]).replace("{\n", "{\n    uint16_t flags;\n", 1))
    out.append("#endif\n")
    return "".join(out)


# ---- reading ----

def groups(fields):
    """Consecutive bits as one group ("bits", names), each other field as (type, name)."""
    out = []
    for name, kind in fields:
        if kind == "bit" and out and out[-1][0] == "bits" and len(out[-1][1]) < 8:
            out[-1][1].append(name)
        elif kind == "bit":
            out.append(("bits", [name]))
        else:
            out.append((kind, name))
    return out


def read_one(kind, name, to):
    value = "amqp_table_get(r)" if kind == "table" else f"wire_get_{NUMBERS.get(kind, kind)}(r)"
    return f"    {value};\n" if name == "-" else f"    {to}->{c_name(name)} = {value};\n"


def read_bits(names, to, index):
    bits = f"bits{index}"
    rows = [f"    uint8_t {bits} = wire_get_u8(r);\n"]
    rows += [f"    {to}->{c_name(n)} = ({bits} >> {i} & 1) != 0;\n" for i, n in enumerate(names) if n != "-"]
    if all(n == "-" for n in names):
        rows[0] = "    wire_get_u8(r);\n"
    return "".join(rows)


def reader(m):
    if not m.fields:
        return ""
    body = "".join(read_bits(n, "m", i) if k == "bits" else read_one(k, n, "m")
                   for i, (k, n) in enumerate(groups(m.fields)))
    if not m.named:
        return f"static void get_{m.ident}(struct reader *r) {{\n{body}}}\n\n"
    return f"static void get_{m.ident}(struct reader *r, struct amqp_{m.ident} *m) {{\n{body}}}\n\n"


def get_call(m):
    if not m.fields:
        return ""
    return f"get_{m.ident}(r{f', &m->as.{m.ident}' if m.named else ''});\n        "


# ---- writing ----

def fixed_size(fields):
    return sum(1 if k == "bits" else TYPES[k][1] for k, _ in groups(fields))


def write_one(kind, name, source):
    value = f"{source}->{c_name(name)}" if name != "-" else \
        "span_of(NULL, 0)" if TYPES[kind][0] == "struct span" else "0"
    kind = "longstr" if kind == "table" else kind
    return f"    to = wire_put_{NUMBERS.get(kind, kind)}(to, {value});\n"


def write_bits(names):
    parts = [f"m->{c_name(n)} << {i}" for i, n in enumerate(names) if n != "-"]
    return f"    to = wire_put_u8(to, (uint8_t)({' | '.join(parts) or '0'}));\n"


def writer(m):
    if not m.named:
        return ""
    body = "".join(write_bits(n) if k == "bits" else write_one(k, n, "m") for k, n in groups(m.fields))
    return f"static uint8_t *put_{m.ident}(uint8_t *to, const struct amqp_{m.ident} *m) {{\n{body}    return to;\n}}\n\n"


def put_case(m):
    if m.named:
        return f"    case {m.constant}:\n        return put_{m.ident}(to, &m->as.{m.ident});\n"
    size = fixed_size(m.fields)
    if not size:
        return f"    case {m.constant}:\n        return to;\n"
    return f"    case {m.constant}: /* only fields that nobody uses */\n        return wire_put_zeros(to, {size});\n"


def size_case(m):
    terms = [str(fixed_size(m.fields))]
    checks = []
    for name, kind in m.named:
        if TYPES[kind][0] == "struct span":
            terms.append(f"m->as.{m.ident}.{c_name(name)}.size")
            if kind == "shortstr":
                checks.append(f"m->as.{m.ident}.{c_name(name)}.size <= UINT8_MAX")
    if checks:
        return (f"    case {m.constant}:\n        *ret_size = {' + '.join(terms)};\n"
                f"        return {' && '.join(checks)};\n")
    return f"    case {m.constant}:\n        *ret_size = {' + '.join(terms)};\n        return true;\n"


# ---- properties ----

def properties(fields):
    get, put, size = [], [], []
    for name, kind in fields:
        flag, field = f"AMQP_HAS_{c_name(name).upper()}", f"p->{c_name(name)}"
        get.append(f"    if (p->flags & {flag})\n    {read_one(kind, name, 'p')}")
        put.append(f"    if (p->flags & {flag})\n    {write_one(kind, name, 'p')}")
        extra = f" + {field}.size" if TYPES[kind][0] == "struct span" else ""
        size.append(f"    if (p->flags & {flag})\n        size += {TYPES[kind][1]}{extra};\n")
    shorts = [n for n, k in fields if k == "shortstr"]
    known = " | ".join(f"AMQP_HAS_{c_name(n).upper()}" for n, _ in fields)
    valid = " &&\n           ".join(f"p->{c_name(n)}.size <= UINT8_MAX" for n in shorts)
    return (f"const uint16_t codec_known_properties = {known};\n\n"
            "void codec_get_properties(struct reader *r, struct amqp_properties *p) {\n" + "".join(get) + "}\n\n"
            "uint8_t *codec_put_properties(uint8_t *to, const struct amqp_properties *p) {\n" + "".join(put) +
            "    return to;\n}\n\n"
            "size_t codec_properties_size(const struct amqp_properties *p) {\n    size_t size = 0;\n" + "".join(size) +
            "    return size;\n}\n\n"
            "bool codec_properties_fit(const struct amqp_properties *p) {\n    return " + valid + ";\n}\n\n")


def source(codes, classes):
    methods = [m for c in classes for m in c["methods"]]
    out = ['/* Made by amqp/generate.py. */\n#include "amqp/codec_internal.h"\n\n']
    out += [reader(m) for m in methods]
    out.append("bool codec_get_method(struct reader *r, struct amqp_method *m) {\n    switch (m->id) {\n")
    out += [f"    case {m.constant}:\n        {get_call(m)}return true;\n" for m in methods]
    out.append("    }\n    return false;\n}\n\n")
    out += [writer(m) for m in methods]
    out.append("uint8_t *codec_put_method(uint8_t *to, const struct amqp_method *m) {\n    switch (m->id) {\n")
    out += [put_case(m) for m in methods]
    out.append("    }\n    return to;\n}\n\n")
    out.append("bool codec_method_size(const struct amqp_method *m, size_t *ret_size) {\n    switch (m->id) {\n")
    out += [size_case(m) for m in methods]
    out.append("    }\n    return false;\n}\n\n")
    out.append("const char *amqp_method_text(enum amqp_method_id id) {\n    switch (id) {\n")
    out += [f'    case {m.constant}:\n        return "{m.owner["name"]}.{c_name(m.name)}";\n' for m in methods]
    out.append('    }\n    return "unknown";\n}\n\n')
    out.append("enum amqp_sender amqp_method_sender(enum amqp_method_id id) {\n    switch (id) {\n")
    for who in ("server", "client", "both"):
        out += [f"    case {m.constant}:\n" for m in methods if m.sender == who]
        out.append(f"        return AMQP_SENT_BY_{who.upper()};\n")
    out.append("    }\n    return AMQP_SENT_BY_NOBODY;\n}\n\n")
    out.append("bool amqp_method_carries_content(enum amqp_method_id id) {\n    return " +
               " ||\n           ".join(f"id == {m.constant}" for m in methods if m.content) + ";\n}\n\n")
    out += [properties(c["properties"]) for c in classes if c["properties"]]
    return "".join(out).rstrip("\n") + "\n"


def main(definition, header_path, source_path):
    codes, classes = parse(definition)
    for path, text in ((header_path, header(codes, classes)), (source_path, source(codes, classes))):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
