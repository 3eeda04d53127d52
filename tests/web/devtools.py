#!/usr/bin/env python3
"""Looks at pages in headless Chromium: devtools.py BASE-URL SCREENSHOT-DIRECTORY PATH...

Each path is loaded at 380, 1000 and 1600 pixels, light and dark, with scripts and (once) without them. Nothing may be wider than the
window, nothing may be refused by the page's policy, the scripts must not fail, text must stand out from what is behind it, and
everything that can be used must be reachable with the keyboard. One screenshot of each is left for people to look at.
"""
import base64, json, os, re, socket, struct, subprocess, sys, tempfile, time, urllib.request

class Devtools:
    def __init__(self, url):
        host, path = url[5:].split("/", 1)
        name, port = host.split(":")
        self.socket = socket.create_connection((name, int(port)), timeout=20)
        self.socket.sendall((f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head: head += self.socket.recv(1)
        self.number, self.events = 0, []
    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = len(data)
        head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xfe]) + struct.pack(">H", size) if size < 65536 else bytes([0x81, 0xff]) + struct.pack(">Q", size)
        self.socket.sendall(head + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(data)))
    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more: raise EOFError
            data += more
        return data
    def receive(self):
        whole = b""
        while True:
            first, second = self.read(2)
            size = second & 127
            if size == 126: size = struct.unpack(">H", self.read(2))[0]
            elif size == 127: size = struct.unpack(">Q", self.read(8))[0]
            data = self.read(size)
            if first & 15 > 2: continue
            whole += data
            if first & 128: return json.loads(whole)
    def call(self, method, **parameters):
        self.number += 1
        number = self.number
        self.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            got = self.receive()
            if got.get("id") == number:
                assert "error" not in got, (method, got["error"])
                return got["result"]
            self.events.append(got)
    def evaluate(self, expression):
        got = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

LOOK = r"""(() => {
  const wide = [...document.querySelectorAll("body *")].filter((e) => {
    const r = e.getBoundingClientRect();
    return r.width > 1 && r.right > innerWidth + 1 && getComputedStyle(e).clipPath === "none" && !e.classList.contains("skip");
  }).map((e) => e.outerHTML.slice(0, 100));
  const luminance = (c) => c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const parse = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0.99) return c.slice(0, 3); } return [255, 255, 255]; };
  const faint = [...document.querySelectorAll("body *")].filter((e) => {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length) return false;
    const a = luminance(parse(getComputedStyle(e).color).slice(0, 3)), b = luminance(behind(e));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
  }).map((e) => e.outerHTML.slice(0, 100));
  const unreachable = [...document.querySelectorAll("a, button, summary")].filter((e) => e.tabIndex < 0 || !(e.textContent.trim() || e.getAttribute("aria-label"))).map((e) => e.outerHTML.slice(0, 100));
  return { scroll: document.documentElement.scrollWidth, inner: innerWidth, height: document.documentElement.scrollHeight, wide, faint, unreachable,
           headings: document.querySelectorAll("h1").length, live: (document.querySelector("#live") || {}).textContent };
})()"""

def fault(text):
    global faults
    faults += 1
    print("not ok", text)

faults = 0
base, pictures, *paths = sys.argv[1:]
os.makedirs(pictures, exist_ok=True)
with tempfile.TemporaryDirectory() as profile:
    browser = subprocess.Popen(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + profile,
                                "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not os.path.exists(profile + "/DevToolsActivePort"):
            assert time.monotonic() < deadline, "chromium does not start"
            time.sleep(0.05)
        port = open(profile + "/DevToolsActivePort").readline().strip()
        page = [t for t in json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json")) if t["type"] == "page"][0]
        tab = Devtools(page["webSocketDebuggerUrl"])
        for domain in ("Page", "Runtime", "Log", "Network"): tab.call(domain + ".enable")
        def load(path):
            tab.events.clear()
            tab.call("Page.navigate", url=base + path)
            deadline = time.monotonic() + 15
            while tab.evaluate("document.readyState") != "complete":
                assert time.monotonic() < deadline, "never loaded: " + path
            return tab.evaluate(LOOK)
        for scripts in (True, False):
            tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
            for path in paths:
                for width in (380, 1000, 1600):
                    for scheme in ("light", "dark"):
                        if not scripts and (width, scheme) != (380, "light"): continue
                        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
                        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                        seen = load(path)
                        name = f"{path} at {width}, {scheme}" + ("" if scripts else ", without scripts")
                        before = faults
                        if seen["scroll"] > seen["inner"] or seen["wide"]: fault(f"{name}: wider than the window: {seen['wide'][:3]}")
                        if seen["faint"]: fault(f"{name}: hard to read: {seen['faint'][:3]}")
                        if seen["unreachable"]: fault(f"{name}: not for the keyboard: {seen['unreachable'][:3]}")
                        if seen["headings"] != 1: fault(f"{name}: {seen['headings']} headings of the first rank")
                        if scripts and seen["live"] != "live": fault(f"{name}: the script does not run: {seen['live']!r}")
                        for event in tab.events:
                            if event["method"] == "Runtime.exceptionThrown": fault(f"{name}: {event['params']['exceptionDetails']['text']}")
                            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error" and not (path == "/nowhere" and "404" in event["params"]["entry"]["text"]): fault(f"{name}: {event['params']['entry']['text']}")
                            if event["method"] == "Network.requestWillBeSent" and not event["params"]["request"]["url"].startswith(base): fault(f"{name}: asks {event['params']['request']['url']}")
                        if faults == before: print("ok", name)
                        if not scripts: continue
                        shot = tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                                        clip={"x": 0, "y": 0, "width": width, "height": min(seen["height"], 3000), "scale": 1})
                        file = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-") or "overview"
                        open(f"{pictures}/{file}-{width}-{scheme}.png", "wb").write(base64.b64decode(shot["data"]))
        # It renews itself, and what one has opened and reached stays so.
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
        load("/")
        tab.evaluate("for (const d of document.querySelectorAll('details')) d.open = true; document.querySelector('main a').focus()")
        reached, was = tab.evaluate("document.activeElement.href"), tab.evaluate("document.getElementById('as-of').textContent")
        deadline = time.monotonic() + 15
        while tab.evaluate("document.getElementById('as-of').textContent") == was and time.monotonic() < deadline: time.sleep(0.2)
        if tab.evaluate("document.getElementById('as-of').textContent") == was: fault("the page renews itself")
        elif tab.evaluate("document.activeElement.href") != reached: fault("focus stays where it was")
        elif not tab.evaluate("[...document.querySelectorAll('details')].every((d) => d.open)"): fault("opened lists stay open")
        else: print("ok the page renews itself; focus and opened lists stay")
        tab.evaluate("document.querySelector('.pause').click()")
        if tab.evaluate("document.getElementById('live').textContent") != "paused": fault("a pause")
        else: print("ok a pause")
    finally:
        browser.terminate()
        browser.wait()
sys.exit(1 if faults else 0)
