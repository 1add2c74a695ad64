#!/usr/bin/env python3
"""Compares etc/openapi.yaml with the code: routes, fields of specs and views, drop reasons, and its own references.

usage: check_openapi.py SOURCE_FOLDER; exits 77 (skipped) without PyYAML.
"""
import re
import sys
from pathlib import Path

try:
    import yaml
except ImportError:
    print("skipped: PyYAML is not installed (apt-get install python3-yaml, pip install pyyaml)")
    sys.exit(77)

root = Path(sys.argv[1])
api = yaml.safe_load((root / "etc/openapi.yaml").read_text())
schemas = api["components"]["schemas"]
wrong = []


def compare(what, documented, real):
    for name in sorted(set(documented) - set(real)):
        wrong.append(f"{what}: {name} is documented, but not in the code")
    for name in sorted(set(real) - set(documented)):
        wrong.append(f"{what}: {name} is in the code, but not documented")


def code(path):
    return (root / path).read_text()


def joined(text):
    """Adjacent string literals as the compiler sees them."""
    return re.sub(r'"\s+"', "", text)


def routes():
    text = code("api/routes.c")
    network = re.search(r'#define NETWORK "(.*)"', text).group(1)
    table = text[text.index("const struct route routes[]") : text.index("const size_t n_routes")]
    table = table.replace("PORT", f'"{network}/ports/{{port}}"').replace("NETWORK", f'"{network}"')
    row = r'\{"(\w+)",\s*"([^"]*)",\s*BODY_(\w+),.*?"([^"]*\.)"\}'
    return {(m[0], m[1]): (m[2], m[3]) for m in re.findall(row, joined(table), re.S)}


def check_routes():
    real = routes()
    documented = {
        (method.upper(), path): operation
        for path, item in api["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }
    compare("routes", documented, real)
    for key in set(real) & set(documented):
        body, sentence = real[key]
        operation = documented[key]
        if operation["summary"] != sentence:
            wrong.append(f"{key}: summary {operation['summary']!r} is not {sentence!r}")
        wanted = {"NONE": None, "OPTIONAL": False, "REQUIRED": True}[body]
        if operation.get("requestBody", {}).get("required") != wanted:
            wrong.append(f"{key}: the body is {body} in the code")


def names_in(text):
    return re.findall(r'"(\w+)"', text)


def known_fields(function, path="api/spec_json.c"):
    text = code(path)
    body = text[re.search(rf"^\w.*\b{function}\(", text, re.M).start() :]
    return names_in(re.search(r"known\[\] = \{(.*?)\}", body, re.S).group(1))


def check_fields():
    compare("NetworkSpec", schemas["NetworkSpec"]["properties"], known_fields("network_spec_from_json"))
    compare("PortSpec", schemas["PortSpec"]["properties"], known_fields("port_spec_from_json"))
    compare("PortChange", schemas["PortChange"]["properties"], known_fields("port_change_from_json"))
    compare("Ipv4", schemas["Ipv4"]["properties"], known_fields("read_ipv4"))
    compare("Forward", schemas["Forward"]["properties"], known_fields("read_forward"))
    compare("Reservation", schemas["Reservation"]["properties"], known_fields("read_reservation", "api/reservations.c"))
    compare("Vmnet", schemas["Vmnet"]["properties"], known_fields("network_vmnet_read", "api/vmnet_spec.c"))
    compare("SocketsSpec", schemas["SocketsSpec"]["properties"], known_fields("read_sockets"))
    for name in ("Limits", "Tuning"):
        table = re.search(rf"struct number {name.lower()}\[\] = \{{(.*?)^\}};", code("api/spec_json.c"), re.S | re.M).group(1)
        compare(name, schemas[name]["properties"], re.findall(r'\{"(\w+)"', table))
    for name in ("Network", "Port"):
        schema = schemas[name]
        compare(f"{name}.required", schema["required"], schema["properties"])
    shown = set(names_in(code("api/views.c"))) | set(names_in(code("api/spec_json.c")))
    for name in ("Network", "Port", "FdbEntry", "Uplink", "UplinkCounters", "NetworkCounters"):
        for field in set(schemas[name]["properties"]) - shown:
            wrong.append(f"{name}: {field} is documented, but no view shows it")


def check_drops():
    table = re.findall(r'X\((\w+), "([^"]*)"\)', code("switch/counters.h"))
    drops = schemas["Drops"]["properties"]
    compare("Drops", drops, [name for name, _ in table])
    for name, sentence in table:
        if name in drops and drops[name]["description"] != sentence:
            wrong.append(f"drop {name}: {drops[name]['description']!r} is not {sentence!r}")


def check_uplink_drops():
    table = dict(re.findall(r'X\((\w+), "([^"]*)"\)', code("io/uplink.h")))
    drops = schemas["UplinkDrops"]["properties"]
    compare("UplinkDrops", drops, table)
    for name in set(table) & set(drops):
        if drops[name]["description"] != table[name]:
            wrong.append(f"uplink drop {name}: {drops[name]['description']!r} is not {table[name]!r}")


def check_references(node):
    if isinstance(node, dict):
        reference = node.get("$ref")
        if reference:
            at = api
            for part in reference.removeprefix("#/").split("/"):
                at = at.get(part, {})
            if not at:
                wrong.append(f"{reference} leads nowhere")
        for child in node.values():
            check_references(child)
    elif isinstance(node, list):
        for child in node:
            check_references(child)


if len(routes()) < 15:
    wrong.append("the table in api/routes.c was not understood")
check_routes()
check_fields()
check_drops()
check_uplink_drops()
check_references(api)
for line in wrong:
    print(line)
sys.exit(1 if wrong else 0)
