#!/usr/bin/env python3
"""Checks JSON lines on stdin against a schema file: `json_schema.py SCHEMA [MEMBER...]`. Knows the words that the published schemas use, and
fails on any other. Members that no schema knows are a fault, so that none stays unpublished. Prints how many lines there were."""
import json
import re
import sys

KNOWN = {"$schema", "title", "description", "type", "required", "properties", "additionalProperties", "enum", "const", "pattern", "minimum",
         "maximum", "minLength", "maxLength", "items", "oneOf"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def faults(schema, value, path):
    for word in set(schema) - KNOWN:
        yield f"{path}: the schema has '{word}', which is not checked"
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (kind in ("integer", "number") and isinstance(value, bool))):
        yield f"{path}: {value!r} is no {kind}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{path}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
        yield f"{path}: {value!r} is out of range"
    if "minLength" in schema and len(value) < schema["minLength"] or "maxLength" in schema and len(value) > schema["maxLength"]:
        yield f"{path}: {value!r} has {len(value)} characters"
    for member in schema.get("required", []):
        if member not in value:
            yield f"{path}: '{member}' is missing"
    properties = schema.get("properties", {})
    for name, inner in properties.items():
        if isinstance(value, dict) and name in value:
            yield from faults(inner, value[name], f"{path}.{name}")
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        for name in set(value) - set(properties):
            yield from faults(more, value[name], f"{path}.{name}")
    if "items" in schema:
        for i, item in enumerate(value):
            yield from faults(schema["items"], item, f"{path}[{i}]")
    if "oneOf" in schema:
        tries = [list(faults(one, value, path)) for one in schema["oneOf"]]
        if sum(not found for found in tries) != 1:
            yield f"{path}: fits {sum(not found for found in tries)} of {len(tries)} forms: {tries}"


def published(schema):
    names = set(schema.get("properties", {}))
    for one in schema.get("oneOf", []):
        names |= published(one)
    return names


with open(sys.argv[1]) as file:
    schema = json.load(file)
count = 0
bad = []
for count, line in enumerate(sys.stdin, 1):
    value = json.loads(line)
    bad += [f"line {count}: {fault}" for fault in faults(schema, value, "")]
    bad += [f"line {count}: '{name}' is not in the schema" for name in set(value) - published(schema)]
    bad += [f"line {count}: '{name}' should be there" for name in sys.argv[2:] if name not in value]
print("\n".join(bad[:20]), file=sys.stderr)
print(count)
sys.exit(1 if bad else 0)
