#!/usr/bin/env python3
"""Makes a function that prints each method's fields, by their names in the definition: make_dump.py <generate.py> <definition> <out.h>."""
import importlib.util
import sys

PRINTERS = {"bit": "put_bool", "shortstr": "put_bytes", "longstr": "put_bytes", "table": "put_table"}


def rows(fields, to):
    return "".join(f'        {PRINTERS.get(kind, "put_number")}("{name}", {to}{name.replace("-", "_")});\n'
                   for name, kind in fields if name != "-")


def main():
    spec = importlib.util.spec_from_file_location("generate", sys.argv[1])
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    _, classes = generate.parse(sys.argv[2])
    out = ["static void dump_method(const struct amqp_method *m) {\n    switch (m->id) {\n"]
    for method in (m for c in classes for m in c["methods"]):
        out.append(f"    case {method.constant}:\n{rows(method.fields, f'm->as.{method.ident}.')}        break;\n")
    out.append("    }\n}\n\nstatic void dump_properties(const struct amqp_properties *p) {\n")
    for name, kind in next(c["properties"] for c in classes if c["properties"]):
        has = f"AMQP_HAS_{name.replace('-', '_').upper()}"
        out.append(f"    if ((p->flags & {has}) != 0) {{\n{rows([(name, kind)], 'p->')}    }}\n")
    out.append("}\n")
    with open(sys.argv[3], "w", encoding="utf-8") as file:
        file.write("".join(out))


if __name__ == "__main__":
    main()
