#!/usr/bin/env python3
"""A site that answers as it is told: the far end in tests of gw-send.

usage: scripted_site.py DIR [PORT]

Listens on 127.0.0.1 (PORT 0: any), prints `ready URL`. Each request is written to DIR/N.request (raw bytes, N from 1) before it is
answered, and its arrival (seconds since 1970) to DIR/log as `N arrived`, its end as `N answered STATUS`. What to answer stands in
DIR/plan, one line per request, the last line for all further
ones, counted from when the file was put there; without it `200 OK`:
  STATUS[ REASON][ | BODY][ | HEADER: VALUE]...     an answer; BODY `OK` if left out with 200
  close            ends the connection without an answer
  hang SECONDS     keeps the request, then ends the connection
  slow SECONDS     answers 200 OK after that time
  part             half of an answer, then the end of the connection
  pass URL         hands the request on to the site URL (http, an IPv4 address or localhost, a port), and its answer back
  lose URL         the same, but the answer is lost: the connection ends
  by-id FILE       the answer stands in FILE, lines `ID<TAB>answer`; ids that are not there get 200 OK
"""
import os
import socket
import sys
import threading
import time


class Site:
    def __init__(self, directory, port):
        self.directory = directory
        self.count = 0
        self.plan_stamp = None
        self.plan_from = 0
        self.lock = threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(256)

    def url(self):
        return "http://127.0.0.1:%d/site/" % self.listener.getsockname()[1]

    def note(self, text):
        with self.lock, open(os.path.join(self.directory, "log"), "a") as log:
            log.write("%.3f %s\n" % (time.time(), text))

    def plan(self, number):
        try:
            with open(os.path.join(self.directory, "plan")) as file:
                lines = [line.rstrip("\n") for line in file if line.strip()]
                status = os.fstat(file.fileno())
            with self.lock:
                if self.plan_stamp != (status.st_ino, status.st_mtime_ns):
                    self.plan_stamp = (status.st_ino, status.st_mtime_ns)
                    self.plan_from = number - 1
                number -= self.plan_from
        except FileNotFoundError:
            lines = []
        return lines[max(min(number, len(lines)), 1) - 1] if lines else "200 OK"

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection:
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    more = connection.recv(65536)
                    if not more:
                        return
                    buffer += more
                head, rest = buffer.split(b"\r\n\r\n", 1)
                fields = {}
                for line in head.split(b"\r\n")[1:]:
                    name, _, value = line.partition(b":")
                    fields[name.strip().lower()] = value.strip()
                length = int(fields.get(b"content-length", b"0"))
                while len(rest) < length:
                    more = connection.recv(1 << 20)
                    if not more:
                        return
                    rest += more
                body, buffer = rest[:length], rest[length:]
                with self.lock:
                    self.count += 1
                    number = self.count
                path = os.path.join(self.directory, "%d.request" % number)
                with open(path + ".tmp", "wb") as file:
                    file.write(head + b"\r\n\r\n" + body)
                os.rename(path + ".tmp", path)
                self.note("%d arrived" % number)
                message_id = fields.get(b"nservicebus.id", b"").decode()
                plan = self.plan(number)
                if plan.split()[0] in ("pass", "lose"):
                    if not self.hand_on(connection, number, plan.split(), head, body):
                        return
                elif not self.answer(connection, number, plan, message_id):
                    return

    def hand_on(self, connection, number, plan, head, body):
        authority, _, path = plan[1].removeprefix("http://").partition("/")
        host, _, port = authority.partition(":")
        lines = head.split(b"\r\n")
        lines[0] = b"%s /%s HTTP/1.1" % (lines[0].split()[0], path.encode())
        lines = [line for line in lines if not line.lower().startswith((b"host:", b"connection:"))]
        lines += [b"Host: " + authority.encode(), b"Connection: close"]
        answer = b""
        try:
            with socket.create_connection((host, int(port)), 30) as target:
                target.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
                while True:
                    more = target.recv(65536)
                    if not more:
                        break
                    answer += more
        except OSError as error:
            self.note("%d not handed on: %s" % (number, error))
            return False
        if plan[0] == "pass":
            connection.sendall(answer)
        self.note("%d handed on, %s" % (number, "answered" if plan[0] == "pass" else "answer lost"))
        return False

    def answer(self, connection, number, plan, message_id):
        words = plan.split()
        if words[0] == "by-id":
            plan = "200 OK"
            with open(words[1]) as file:
                for line in file:
                    key, _, value = line.rstrip("\n").partition("\t")
                    if key == message_id:
                        plan = value
            words = plan.split()
        if words[0] == "close":
            self.note("%d closed" % number)
            return False
        if words[0] == "hang":
            time.sleep(float(words[1]))
            self.note("%d hung" % number)
            return False
        if words[0] == "part":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            self.note("%d half" % number)
            return False
        if words[0] == "slow":
            time.sleep(float(words[1]))
            plan = "200 OK"
        parts = [part.strip() for part in plan.split("|")]
        status, _, reason = parts[0].partition(" ")
        body = parts[1] if len(parts) > 1 else ("OK" if status == "200" else "")
        lines = ["HTTP/1.1 %s %s" % (status, reason or "Status"), "Content-Length: %d" % len(body.encode())] + parts[2:]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        self.note("%d answered %s" % (number, status))
        return True


def main():
    site = Site(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print("ready " + site.url(), flush=True)
    site.serve()


main()
