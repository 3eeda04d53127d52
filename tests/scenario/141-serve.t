#!/usr/bin/env bash
# The web page over HTTP: what is on it, who may see it, and that messages cannot break out of it.
. "$(dirname "$0")/../lib.sh"

get() { curl -s -o page -D head -w '%{http_code}' "$@"; }
has() { check "the page has: $1" grep -qF -- "$1" page; }
has_not() { check_not "the page has not: $1" grep -qF -- "$1" page; }

run_ok queue-inspect create Sales Empty
evil='"><script>alert(1)</script>'
printf '<img src=x onerror=alert(2)>\r\nsecond line' | queue-inspect put Sales --id "$evil" --type "<b>'Evil'&amp;" --header 'X-Evil="><svg/onload=alert(3)>' \
  --header $'X-Bidi=abc\u202etxt.exe' -q
head -c 100 /dev/urandom | queue-inspect put Sales --id binary -q
seq 1 205 | queue-inspect put Sales --lines -q
printf '#!/bin/sh\necho "disk <full> on host 17" >&2\nexit 65\n' >handler
chmod 755 handler
echo poison | queue-inspect put Jobs --create -q
run_exit 1 distributor worker --queue Jobs --drain -- ./handler

start_daemon page queue-inspect serve --listen 127.0.0.1:0
like '^ready http://127\.0\.0\.1:[1-9][0-9]*/$' "$ready_line"
url=${ready_line#ready } url=${url%/}
same gw-serve "$(cat "/proc/$daemon_pid/comm")" "it is a program of its own"
unlike 'civetweb' "$(ldd "$BUILD/bin/queue-inspect")" "queue-inspect itself loads no HTTP server"

# --- what is there ------------------------------------------------------------------------------------------------------------
same 200 "$(get "$url/")"
like '^Content-Type: text/html; charset=utf-8' "$(cat head)"
has '<a href="/queue/Sales">Sales</a>'
has '<a href="/queue/Empty">Empty</a>'
has 'disk &lt;full&gt; on host #'
group=$(grep -o 'group=[0-9a-f]\{8\}' page | head -n 1)
same 200 "$(get "$url/queue/error?$group")"
has "queue-inspect return error --group ${group#group=} --dry-run"
same 200 "$(get "$url/queue/Sales")"
has 'href="/message/Sales/100"'
has_not 'href="/message/Sales/101"'
has '/queue/Sales?from=101#messages'
same 200 "$(get "$url/queue/Sales?from=201")"
has 'href="/message/Sales/207"'
same 200 "$(get "$url/message/Sales/1")"
has "queue-inspect purge Sales :1 --root $GW_ROOT"
failed_id=$(queue-inspect list error --json | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["id"])')
same 200 "$(get "$url/trace/$failed_id")"
has '<b>failed</b>'
has '/message/error/1'
same 404 "$(get "$url/trace/no-such-message")"
same 200 "$(get "$url/message/Sales/2")"
has '000000  '
for gone in /message/Sales/999 /message/None/1 /message/Sales/x /queue/None /queue/..%2f..%2fetc /queue/%00 /message/Sales /etc/passwd /../etc/passwd; do
  same 404 "$(get --path-as-is "$url$gone")" "404: $gone"
done
same 200 "$(get "$url/style.css")"
like '^Content-Type: text/css' "$(cat head)"
same 200 "$(get "$url/live.js")"
like '^Content-Type: text/javascript' "$(cat head)"
same 200 "$(get "$url/icon.svg")"

# --- what messages carry is text ----------------------------------------------------------------------------------------------
get "$url/message/Sales/1" >/dev/null
has '&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;'
has '&lt;img src=x onerror=alert(2)&gt;'
has '&quot;&gt;&lt;svg/onload=alert(3)&gt;'
cat >pages.py <<'PY'
import sys
from html.parser import HTMLParser
void = {"meta", "link", "img", "br", "input", "hr"}
class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links = [], set(), []
    def handle_starttag(self, tag, attributes):
        assert tag not in ("img", "iframe", "object", "form", "base", "style", "b0"), tag
        if tag == "script": assert dict(attributes) == {"src": "/live.js", "defer": None}, attributes
        for name, value in attributes:
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in ("href", "src"): assert value.startswith(("/", "#")) and not value.startswith("//"), value
            if name == "id":
                assert value not in self.ids, "id twice: " + value
                self.ids.add(value)
            if name == "aria-labelledby": self.links.append(value)
        if tag == "svg": assert any(n == "aria-label" and v for n, v in attributes)
        if tag not in void: self.open.append(tag)
    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in void: self.open.pop()
    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()
text = open(sys.argv[1], encoding="utf-8").read()
page = Page()
page.feed(text)
page.close()
assert not page.open, page.open
assert all(link in page.ids for link in page.links), page.links
assert "\u202e" not in text and "<script>alert" not in text
PY
for path in / /queue/Sales /queue/error "/queue/error?$group" /message/Sales/1 /message/Sales/2 /message/error/1 "/trace/$failed_id" /nowhere "/queue/Sales?from=%22%3E%3Cb0%3E"; do
  get "$url$path" >/dev/null
  check "well-formed, nothing inline, nothing from elsewhere: $path" python3 pages.py page
done

# --- what browsers are told, and who may ask -------------------------------------------------------------------------------------
for path in / /style.css /nowhere; do
  get "$url$path" >/dev/null
  policy=$(grep -i '^Content-Security-Policy:' head)
  like "default-src 'none'" "$policy" "policy of $path"
  unlike 'unsafe|https?:|\*' "$policy"
  like '^X-Content-Type-Options: nosniff' "$(cat head)"
done
same 405 "$(get -X POST -d x "$url/")"
like '^Allow: GET, HEAD' "$(cat head)"
for method in PUT DELETE OPTIONS PATCH PROPFIND; do same 405 "$(get -X $method "$url/")" "405: $method"; done
same 200 "$(get -I "$url/")" "HEAD"
port=${url##*:}
for host in "127.0.0.1:$port" "localhost:$port" localhost:1 '[::1]:80'; do same 200 "$(get -H "Host: $host" "$url/")" "Host: $host"; done
for host in evil.example "evil.example:$port" "127.0.0.1.evil.example" 10.1.2.3 "localhost.evil.example" 'localhost:x'; do
  same 421 "$(get -H "Host: $host" "$url/")" "foreign Host: $host"
done
same 421 "$(get --http1.0 -H 'Host:' "$url/")" "no Host"
stop_daemon page

# --- tokens -------------------------------------------------------------------------------------------------------------------
run_exit 64 queue-inspect serve
run_exit 64 queue-inspect serve --listen nonsense
run_exit 64 queue-inspect serve --listen 0.0.0.0:0
like 'token-file' "$err"
printf 'secret-one\nanna secret-two\n' >tokens
chmod 644 tokens
run_exit 77 queue-inspect serve --listen 127.0.0.1:0 --token-file tokens
chmod 600 tokens
start_daemon guarded queue-inspect serve --listen 127.0.0.1:0 --token-file tokens
url=${ready_line#ready } url=${url%/}
same 401 "$(get "$url/")"
like '^WWW-Authenticate: Bearer' "$(cat head)"
like '^WWW-Authenticate: Basic' "$(cat head)"
same 401 "$(get "$url/live.js")" "not even its files"
same 401 "$(get -H 'Authorization: Bearer secret-three' "$url/")"
same 401 "$(get -H 'Authorization: Bearer ' "$url/")"
same 401 "$(get -u anna:wrong "$url/")"
same 401 "$(get -H 'Authorization: Basic !!!' "$url/")"
same 200 "$(get -H 'Authorization: Bearer secret-one' "$url/")"
same 200 "$(get -H 'authorization: bearer secret-two' "$url/")"
same 200 "$(get -u whoever:secret-two "$url/")"
same 421 "$(get -H 'Host: evil.example' -H 'Authorization: Bearer secret-one' "$url/")"
printf 'secret-three\n' >tokens.new
chmod 600 tokens.new
mv tokens.new tokens
wait_until 10 curl -sf -o page -H 'Authorization: Bearer secret-three' "$url/"
same 401 "$(get -H 'Authorization: Bearer secret-one' "$url/")" "an old token counts no more"
run_exit 73 queue-inspect serve --listen "127.0.0.1:${url##*:}"
stop_daemon guarded
run_exit 66 queue-inspect serve --listen 127.0.0.1:0 --root "$T/none"
done_testing
