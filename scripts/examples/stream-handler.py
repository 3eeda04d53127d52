#!/usr/bin/env python3
"""A handler of many messages in Python: JSON lines, or frames when it is started with --binary.

    distributor worker --queue Prices --stream --capacity 64 -- stream-handler.py
    distributor worker --queue Prices --stream=binary --capacity 64 -- stream-handler.py --binary

A body that says "later" comes again in a second, one that says "bad" goes to the error queue; all others are passed on in capitals to
the queue that the header Forward names, if there is one.
"""
import base64
import json
import sys


def read_lines():
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "body" in message:
            yield message, message["body"].encode()
        elif "body_base64" in message:
            yield message, base64.b64decode(message["body_base64"])
        else:
            with open(message["body_file"], "rb") as file:
                yield message, file.read()


def read_frames():
    while length := sys.stdin.buffer.read(4):
        message = json.loads(sys.stdin.buffer.read(int.from_bytes(length, "big")))
        yield message, sys.stdin.buffer.read(message["body_bytes"])


def handle(message, body):
    """The answer without its number."""
    if body == b"later":
        return {"result": "retry", "delay_s": 1, "reason": "not yet"}
    if body == b"bad":
        return {"result": "fail", "reason": "nobody wants this"}
    answer = {"result": "ok"}
    if "Forward" in message["headers"]:
        forwarded = base64.b64encode(body.upper()).decode()
        answer["send"] = [{"queue": message["headers"]["Forward"], "headers": {"Handler": "python"}, "body_base64": forwarded}]
    return answer


def write(answer, binary):
    text = json.dumps(answer).encode()
    sys.stdout.buffer.write(len(text).to_bytes(4, "big") + text if binary else text + b"\n")
    sys.stdout.buffer.flush()


binary = sys.argv[1:] == ["--binary"]
for message, body in read_frames() if binary else read_lines():
    write({"seq": message["seq"], **handle(message, body)}, binary)
