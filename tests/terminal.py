#!/usr/bin/env python3
"""Runs a command on a terminal of its own and tells what became of both.

terminal.py ROWSxCOLUMNS SCRIPT -- CMD...
SCRIPT: steps that follow one another, separated by commas
    until=TEXT   the screen shows TEXT (10 s at most)       gone=TEXT   ... shows it no more
    size=ROWSxCOLUMNS   the window changes                  key=BYTES   somebody types
    signal=NAME   to the command                            screen=FILE  writes the screen to FILE
Prints `exit N` or `signal N`, `screen normal` if the alternate screen was left, `modes same` if the terminal's modes are as before,
`cursor shown`, and `bytes N`: how much was written.
"""
import fcntl, os, pty, re, select, signal, struct, sys, termios, time

class Screen:
    def __init__(self, rows, columns):
        self.normal, self.cursor, self.bytes = True, True, 0
        self.pending = b""
        self.resize(rows, columns)
    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.y = self.x = 0
    def feed(self, data):
        self.bytes += len(data)
        text = (self.pending + data).decode("utf-8", "surrogateescape")
        self.pending = b""
        at = 0
        while at < len(text):
            c = text[at]
            if c == "\x1b":
                m = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])").match(text, at)
                if not m:
                    self.pending = text[at:].encode("utf-8", "surrogateescape")
                    return
                self.control(m[1], m[2])
                at = m.end()
                continue
            if c == "\n": self.y = min(self.y + 1, self.rows - 1)
            elif c == "\r": self.x = 0
            else:
                if self.normal and self.x >= self.columns: self.x, self.y = 0, min(self.y + 1, self.rows - 1)
                assert self.x < self.columns, "a line wider than the screen: " + text[max(0, at - 100):at + 20]
                self.cells[self.y][self.x] = c
                self.x += 1
            at += 1
    def control(self, numbers, letter):
        if letter == "H":
            place = [int(n or 1) for n in numbers.split(";")] if numbers else [1, 1]
            assert place[0] <= self.rows, "a row beyond the screen"
            self.y, self.x = place[0] - 1, (place[1] if len(place) > 1 else 1) - 1
        elif letter == "J": self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif letter == "K": self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
        elif numbers == "?1049": self.normal = letter == "l"
        elif numbers == "?25": self.cursor = letter == "h"
        elif letter not in "mhl": raise AssertionError("unknown control " + numbers + letter)
    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

def main():
    split = sys.argv.index("--")
    rows, columns = map(int, sys.argv[1].split("x"))
    screen = Screen(rows, columns)
    master, slave = pty.openpty()
    set_size = lambda r, c: fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", r, c, 0, 0))
    set_size(rows, columns)
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2): os.dup2(slave, fd)
        os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
    ended = None
    def pump(seconds):
        nonlocal ended
        if select.select([master], [], [], seconds)[0]: screen.feed(os.read(master, 65536))
        if ended is None:
            got, status = os.waitpid(pid, os.WNOHANG)
            if got: ended = status
    def until(condition, what):
        deadline = time.monotonic() + 10
        while not condition():
            pump(0.05)
            if ended is not None:  # what it wrote last counts
                while select.select([master], [], [], 0)[0]: screen.feed(os.read(master, 65536))
            if not condition() and (time.monotonic() > deadline or ended is not None):
                print("never: " + what + "\n" + screen.text())
                if ended is None: os.kill(pid, signal.SIGKILL)
                sys.exit(1)
    for step in filter(None, sys.argv[2].split(",")):
        word, _, value = step.partition("=")
        if word == "until": until(lambda: value in screen.text(), step)
        elif word == "gone": until(lambda: value not in screen.text(), step)
        elif word == "size":
            r, c = map(int, value.split("x"))
            pump(0)
            screen.resize(r, c)
            set_size(r, c)
            os.kill(pid, signal.SIGWINCH)
        elif word == "key": os.write(master, value.encode().decode("unicode_escape").encode())
        elif word == "signal": os.kill(pid, getattr(signal, value))
        elif word == "stopped": until(lambda: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T", step)
        elif word == "screen": open(value, "w").write(screen.text() + "\n")
        else: sys.exit("unknown step " + step)
    deadline = time.monotonic() + 12
    while ended is None and time.monotonic() < deadline: pump(0.05)
    while select.select([master], [], [], 0)[0]: screen.feed(os.read(master, 65536))
    if ended is None:
        print("still runs")
        os.kill(pid, signal.SIGKILL)
    elif os.WIFEXITED(ended): print("exit", os.WEXITSTATUS(ended))
    else: print("signal", os.WTERMSIG(ended))
    print("screen", "normal" if screen.normal else "alternate")
    print("modes", "same" if termios.tcgetattr(slave) == before else "changed")
    print("cursor", "shown" if screen.cursor else "hidden")
    print("bytes", screen.bytes)
main()
