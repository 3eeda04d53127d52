#!/usr/bin/env python3
"""An HTTP proxy for tests: proxy.py DIRECTORY [USER:PASSWORD]

Prints `ready URL`. Carries absolute-form requests and CONNECT tunnels, one connection per thread, and writes one line for each into
DIRECTORY/log: the request line, then each header line after a tab (what a proxy gets to see). With USER:PASSWORD others get 407.
"""
import base64
import select
import socket
import sys
import threading

directory, user = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
wanted = "Basic " + base64.b64encode(user.encode()).decode() if user else None


def read_head(peer):
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            return None, None
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    return head.decode("latin-1").split("\r\n"), rest


def pump(one, other):
    while True:
        for ready in select.select([one, other], [], [], 30)[0] or [None]:
            data = ready.recv(65536) if ready else b""
            if not data:
                return
            (other if ready is one else one).sendall(data)


def serve(peer):
    with peer:
        lines, rest = read_head(peer)
        if not lines:
            return
        with open(directory + "/log", "a") as log:
            log.write("\t".join(lines) + "\n")
        if wanted and "Proxy-Authorization: " + wanted not in lines:
            peer.sendall(b'HTTP/1.1 407 Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            return
        method, target, version = lines[0].split(" ")
        authority = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = authority.partition(":")
        try:
            site = socket.create_connection((host, int(port or 80)), 10)
        except OSError:
            peer.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with site:
            if method == "CONNECT":
                peer.sendall(b"HTTP/1.1 200 Connected\r\n\r\n" + rest)
            else:
                path = "/" + target.split("/", 3)[3]
                kept = [line for line in lines[1:] if not line.lower().startswith("proxy-")] + ["Connection: close"]
                site.sendall("\r\n".join([f"{method} {path} {version}"] + kept + ["", ""]).encode("latin-1") + rest)
            pump(peer, site)


listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
