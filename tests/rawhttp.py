#!/usr/bin/env python3
"""Sends bytes to an HTTP server as they are and says what came back. For tests that need requests no HTTP client would make.

  rawhttp.py PORT FILE...                   each file on a connection of its own; Host and Connection stay as they are
  rawhttp.py PORT -                         one request from stdin; \\xNN, \\r, \\n, \\t, \\\\ are bytes, line ends are CRLF
  rawhttp.py PORT --cut N FILE              only the first N bytes, then no more is sent (FIN)
  rawhttp.py PORT --stall N FILE            the first N bytes, then silence
  rawhttp.py PORT --drip SECONDS FILE       the body byte by byte, one each SECONDS
  rawhttp.py PORT --table FILE              the requests of a table (tests/data/http/requests.txt), a line each: NAME<TAB>EXPECTED<TAB>ANSWER
  rawhttp.py PORT --ids FIRST COUNT FILE    COUNT requests over one connection, `id-1` in FILE replaced by bulk-<number>

One line a request: NAME<TAB>STATUS<TAB>TEXT<TAB>closed|open[<TAB>field=value...]; STATUS is 000 if no status line came. With
--bytes N the answer must come although N bytes more than the server wants are offered: SENT bytes are reported.
Other options, before FILE: --timeout S (30), --host H (sent instead of the Host in the files), --field NAME (shown), --http10
"""
import os
import re
import socket
import sys
import time


def parse(data):
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
        return None
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return int(parts[1]), parts[2].decode("latin-1") if len(parts) > 2 else "", fields, body


class Connection:
    def __init__(self, port, timeout):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.data = b""
        self.closed = False

    def send(self, data):
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def receive(self, deadline):
        """More bytes; False: end, reset or time-out."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self.socket.settimeout(left)
        try:
            more = self.socket.recv(65536)
        except socket.timeout:
            return False
        except OSError:
            self.closed = True
            return False
        if not more:
            self.closed = True
            return False
        self.data += more
        return True

    def answer(self, head_only=False):
        """(status, reason, fields, body) of the next answer that is not 100; None: no whole one came."""
        deadline = time.monotonic() + self.timeout
        while True:
            parsed = parse(self.data)
            if parsed and parsed[0] == 100:
                self.data = self.data.partition(b"\r\n\r\n")[2]
                self.continued = True
                continue
            if parsed:
                length = 0 if head_only else int(parsed[2].get("content-length", "0"))
                if len(parsed[3]) >= length:
                    self.data = parsed[3][length:]
                    return parsed[0], parsed[1], parsed[2], parsed[3][:length]
            if not self.receive(deadline):
                return None

    continued = False

    def wait_closed(self, seconds):
        deadline = time.monotonic() + seconds
        while not self.closed and self.receive(deadline):
            pass
        return self.closed


def unescape(text):
    out = bytearray()
    i = 0
    while i < len(text):
        c = text[i]
        if c == "\\" and i + 1 < len(text):
            n = text[i + 1]
            if n == "x":
                out.append(int(text[i + 2:i + 4], 16))
                i += 4
                continue
            out += {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\", "0": b"\0"}.get(n, b"\\" + n.encode())
            i += 2
            continue
        out += c.encode("utf-8", "surrogateescape")
        i += 1
    return bytes(out)


def table(path):
    """(name, expected answer, bytes) of each request of a table."""
    entries = []
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    for line in lines:
        if line.startswith("== "):
            entries.append((line[3:], []))
        elif entries:
            entries[-1][1].append(line)
    for number, (name, lines) in enumerate(entries):
        expected = lines.pop(0).removeprefix("> ")
        while lines and not lines[-1]:
            lines.pop()
        # An empty first line belongs to the request.
        end = lines.index("", 1) if "" in lines[1:] else len(lines)
        data = b"".join(field for line in lines[:end] for field in expand(line, number)) + b"\r\n"
        yield name, expected, data + b"".join(unescape(line) for line in lines[end + 1:])


def expand(line, number):
    if line == "@good":
        good = ["POST /Store1/ HTTP/1.1", "Host: localhost", f"NServiceBus.Id: table-{number}", "NServiceBus.CallType: SingleCallSubmit", "NServiceBus.Gateway: True"]
        return [(field + "\r\n").encode() for field in good]
    if line.startswith("@fields "):
        return [b"X-%d: v\r\n" % i for i in range(int(line.split()[1]))]
    line = line.replace("{{PORT}}", sys.argv[1])
    line = re.sub(r"\{\{(.*?)\*(\d+)\}\}", lambda match: match[1] * int(match[2]), line)
    return [unescape(line) + (b"" if line.endswith("\\n") else b"\r\n")]


def from_stdin():
    """The request's lines, an empty line, then the body (its last line end is not part of it)."""
    text = sys.stdin.read()
    head, _, body = text.partition("\n\n")
    lines = head.split("\n")
    data = b"".join(unescape(line) + (b"" if line.endswith("\\r") or line.endswith("\\n") else b"\r\n") for line in lines)
    return data + b"\r\n" + unescape(body[:-1] if body.endswith("\n") else body)


def replace_host(data, host):
    head, separator, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lines = [b"Host: " + host.encode() if line.lower().startswith(b"host:") else line for line in lines]
    return b"\r\n".join(lines) + separator + body


def show(name, answer, connection, fields, notes=()):
    # An error must close soon; that a connection stays open is believed after a moment.
    wait = options["linger"] if answer is None or answer[0] >= 400 else 0.1
    closed = "closed" if connection.wait_closed(wait) else "open"
    if answer is None:
        print("\t".join([name, "000", "-", closed, *notes]), flush=True)
        return
    status, reason, got, body = answer
    text = body.decode("utf-8", "replace") or "-"
    shown = [f"{f}={got.get(f.lower(), '')}" for f in fields] + [f"reason={reason}" for _ in [0] if options["reason"]]
    print("\t".join([name, str(status), text, closed, *shown, *notes]), flush=True)


options = {"timeout": 30.0, "linger": 5.0, "reason": False}


def main():
    words = sys.argv[1:]
    port = int(words.pop(0))
    mode, amount, host, fields, first, count = "plain", 0, None, [], 0, 0
    while words and words[0].startswith("--"):
        word = words.pop(0)
        if word in ("--cut", "--stall", "--bytes"):
            mode, amount = word[2:], int(words.pop(0))
        elif word == "--drip":
            mode, amount = "drip", float(words.pop(0))
        elif word == "--ids":
            mode, first, count = "ids", int(words.pop(0)), int(words.pop(0))
        elif word == "--table":
            mode = "table"
        elif word == "--host":
            host = words.pop(0)
        elif word == "--field":
            fields.append(words.pop(0))
        elif word == "--timeout":
            options["timeout"] = float(words.pop(0))
        elif word == "--reason":
            options["reason"] = True
        else:
            sys.exit(f"rawhttp.py: unknown option {word}")
    if mode == "table":
        for name, expected, data in table(words[0]):
            connection = Connection(port, options["timeout"])
            connection.send(data)
            answer = connection.answer(data.startswith(b"HEAD "))
            status, text = (answer[0], answer[3].decode("utf-8", "replace") or "-") if answer else ("000", "-")
            closed = connection.wait_closed(options["linger"] if not answer or expected.endswith("closed") else 0.1)
            print(f"{name}\t{expected}\t{status} {text} {'closed' if closed else 'open'}", flush=True)
        return
    for path in words:
        if path == "-":
            name, data = "stdin", from_stdin()
        else:
            with open(path, "rb") as file:
                data = file.read()
            name = os.path.basename(path).removesuffix(".request")
        if host:
            data = replace_host(data, host)
        head_only = data.startswith(b"HEAD ")
        connection = Connection(port, options["timeout"])
        began = time.monotonic()
        notes = []
        if mode == "ids":
            statuses = {}
            for number in range(first, first + count):
                if connection.closed:
                    connection = Connection(port, options["timeout"])
                if not connection.send(data.replace(b"id-1", b"bulk-%d" % number)):
                    connection = Connection(port, options["timeout"])
                    connection.send(data.replace(b"id-1", b"bulk-%d" % number))
                answer = connection.answer()
                key = "000" if answer is None else f"{answer[0]} {answer[3].decode('utf-8', 'replace')}"
                statuses[key] = statuses.get(key, 0) + 1
                if answer is None:
                    connection = Connection(port, options["timeout"])
            print("\t".join(f"{key}\t{n}" for key, n in sorted(statuses.items())), flush=True)
            continue
        if mode == "plain":
            connection.send(data)
        elif mode == "cut":
            connection.send(data[:amount])
            try:
                connection.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        elif mode == "stall":
            connection.send(data[:amount])
        elif mode == "drip":
            head, separator, body = data.partition(b"\r\n\r\n")
            connection.send(head + separator)
            for i in range(len(body)):
                if not connection.send(body[i:i + 1]):
                    break
                if connection.receive(time.monotonic() + amount) or connection.closed:
                    break
        elif mode == "bytes":
            # Offers `amount` bytes of body; how many were taken before the answer came?
            connection.send(data)
            sent, chunk = 0, b"x" * 65536
            connection.socket.settimeout(0.5)
            while sent < amount:
                try:
                    sent += connection.socket.send(chunk)
                except OSError:
                    break
            notes.append(f"sent={sent}")
        answer = connection.answer(head_only)
        if connection.continued:
            notes.append("continued")
        notes.append(f"after={time.monotonic() - began:.0f}s") if mode in ("stall", "drip") else None
        show(name, answer, connection, fields, notes)


if __name__ == "__main__":
    main()
