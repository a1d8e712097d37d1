"""What Debian's snmpd asks for objects below a prefix (`man snmpd.conf`, PASS_PERSIST): pass_persist.py FILE.

It checks range and access of one object at a time, so that a refused SET of many is half applied: snmpd has no way to
ask beforehand. It takes a SET of an object that is `deaf` without a word and keeps the old value, as some units do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NAMES = {
    "INTEGER": "integer",
    "Counter": "counter",
    "OCTET STRING": "octet",
    "OBJECT IDENTIFIER": "objectid",
}


def shown(thing: dict) -> str:
    """A value as snmpd reads it: octets as pairs of hexadecimal digits."""
    if thing["syntax"] == "OCTET STRING":
        return bytes.fromhex(thing["value"]).hex(" ")
    return str(thing["value"])


def taken(thing: dict, words: str) -> str:
    """Set a value as snmpd writes it (`integer 5`, `octet 01 02`, `string "ab"`); what to answer."""
    kind, _, text = words.partition(" ")
    text = text.strip().removeprefix('"').removesuffix('"')
    if not thing["writable"]:
        return "not-writable"
    value: int | str
    if thing["syntax"] == "INTEGER":
        if kind != "integer":
            return "wrong-type"
        value = int(text)
        if not thing["low"] <= value <= thing["high"]:
            return "wrong-value"
    elif thing["syntax"] == "OCTET STRING":
        octets = text.encode("latin-1") if kind == "string" else bytes.fromhex(text)
        if not thing["low"] <= len(octets) <= thing["high"]:
            return "wrong-length"
        value = octets.hex()
    else:
        value = text.removeprefix(".")
    if not thing.get("deaf"):
        thing["value"] = value
    return "DONE"


def main(file: str) -> None:
    """Answer until the input ends."""
    things = {
        ".".join([thing["prefix"], *map(str, thing["index"] or [0])]): thing
        for thing in json.loads(Path(file).read_text())["objects"]
    }
    lines = iter(sys.stdin.readline, "")
    for line in lines:
        command = line.strip()
        if command == "PING":
            answer = "PONG"
        elif command == "get":
            name = next(lines).strip()
            thing = things.get(name.removeprefix("."))
            answer = "NONE" if thing is None else f"{name}\n{NAMES[thing['syntax']]}\n{shown(thing)}"
        elif command == "set":
            thing = things.get(next(lines).strip().removeprefix("."))
            words = next(lines).strip()
            answer = "not-writable" if thing is None else taken(thing, words)
        elif not command:  # snmpd ends a value with a line of its own
            continue
        else:  # getnext, which the driver never sends
            next(lines)
            answer = "NONE"
        print(answer, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
