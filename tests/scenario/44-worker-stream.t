#!/usr/bin/env bash
# distributor worker --stream: one process for many messages.
# timeout: 240
# shellcheck disable=SC2016 # the handlers' own variables
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

count() { queue-inspect list "$1" --json 2>/dev/null | wc -l; }
value() { # QUEUE EXPR: python over its messages m and the headers of the first
  queue-inspect list "$1" --json | python3 -c 'import json, sys
m = [json.loads(line) for line in sys.stdin]
headers = m[0]["headers"] if m else {}
print(eval(sys.argv[1]))' "$2"
}
put() { queue-inspect put Q -q "$@" >put.id; }
fresh_errors() { queue-inspect purge error --all -q >purged 2>&1; }
run_ok queue-inspect create Q Out error
cat >lines.py <<'EOF2'
import json, os, sys
log = open("seen", "a")
script = sys.argv[1] if len(sys.argv) > 1 else ""
def answer(seq, result="ok", **more):
    print(json.dumps({"seq": seq, "result": result, **more}), flush=True)
waiting = []
for line in sys.stdin:
    message = json.loads(line)
    log.write(line)
    log.flush()
    seq, body = message["seq"], message.get("body", "")
    exec(script) if script else answer(seq)
EOF2
stream() { distributor worker --queue Q --stream "$@"; }

# --- what it gets, what it answers ------------------------------------------------------------------------------------------------
printf 'plain\n"text"' | put --id s1 --type T --header Note=1
printf '\377\376' | put --id s2
head -c 100000 /dev/urandom >big
put --id s3 big
: | put --id s4
run_ok stream --drain --capacity 4 -- python3 lines.py
same '' "$out" 'nothing of the protocol goes to stdout'
same "s1 1 'plain\\n\"text\"' T 1" "$(head -n 1 seen | python3 -c 'import json, sys; m = json.load(sys.stdin); print(m["id"], m["attempt"], repr(m["body"]), m["headers"]["NServiceBus.EnclosedMessageTypes"], m["headers"]["Note"])')"
same 'id seq attempt headers body' "$(head -n 1 seen | python3 -c 'import json, sys; print(*json.load(sys.stdin))')" 'the keys'
same '//4=' "$(sed -n 2p seen | python3 -c 'import json, sys; print(json.load(sys.stdin)["body_base64"])')"
like '^/.*' "$(sed -n 3p seen | python3 -c 'import json, sys; print(json.load(sys.stdin)["body_file"])')"
same "b''" "$(sed -n 4p seen | python3 -c 'import json, sys; print(json.load(sys.stdin)["body"].encode())')"
same 0 "$(count Q)"
printf x | put
run_ok stream --drain -- python3 lines.py 'import sys; sys.stderr.write("to stderr\n"); sys.stderr.write("GW_OUTBOX" in os.environ and "outbox\n" or "%s\n" % os.environ["GW_QUEUE"]); answer(seq)'
like '^to stderr$' "$err"
like '^Q$' "$err" 'the environment has no message and no outbox'
seq 1 200 | queue-inspect put Q --lines -q
rm seen
run_ok stream --drain --capacity 50 -- python3 lines.py '
waiting.append(seq)
if len(waiting) == 50:
    for seq in reversed(waiting): answer(seq)
    waiting = []'
same "$(seq 1 200)" "$(python3 -c 'import json, sys
for line in open("seen"): print(json.loads(line)["body"])')" 'at most --capacity unanswered, in order; answers in any order'
seq 1 3 | queue-inspect put Q --lines -q
rm seen
run_ok timeout 30 distributor worker --queue Q --stream --drain --capacity 1 -- python3 lines.py '
time = __import__("time")
time.sleep(0.1)
import select
answer(seq, "fail" if select.select([sys.stdin], [], [], 0)[0] else "ok")'
same 0 "$(count error)" 'capacity 1: the next comes after the answer'

# --- retry, fail -------------------------------------------------------------------------------------------------------------------------
printf x | put --id r
rm seen
run_exit 1 stream --drain --retries 2 --retry-increment 200ms --joblog jobs -- python3 lines.py 'answer(seq, "retry", reason="not yet")'
same '1 2 3' "$(python3 -c 'import json
print(*[json.loads(line)["attempt"] for line in open("seen")])')" 'retry: delayed ones only'
same 'Gatepost.HandlerFailed not yet' "$(value error 'headers["NServiceBus.ExceptionInfo.ExceptionType"] + " " + headers["NServiceBus.ExceptionInfo.Message"]')"
same '75 delayed-retry 75 delayed-retry 75 error-queue' "$(awk -F '\t' 'NR > 1 { print $7, $12 }' jobs | paste -sd' ')"
fresh_errors
printf x | put
begin=$(date +%s%N)
run_ok stream --drain -- python3 lines.py 'answer(seq, "retry", delay_s=0.5) if message["attempt"] == 1 else answer(seq)'
check 'delay_s is kept' [ $((($(date +%s%N) - begin) / 1000000)) -ge 500 ]
check 'instead of the increment' [ $((($(date +%s%N) - begin) / 1000000)) -lt 8000 ]
printf x | put
run_exit 1 stream --drain -- python3 lines.py 'answer(seq, "fail", reason="no such sku")'
same 'no such sku' "$(value error 'headers["NServiceBus.ExceptionInfo.Message"]')"
fresh_errors

# --- sends ------------------------------------------------------------------------------------------------------------------------------------
cat >config.xml <<'EOF2'
<gatepost><Gateway Endpoint="HQ"><Sites>
<Site Key="A" Address="http://127.0.0.1:9/A/" Groups="all"/><Site Key="B" Address="http://127.0.0.1:9/B/" Groups="all"/>
</Sites></Gateway></gatepost>
EOF2
printf x | put --id parent --header NServiceBus.ConversationId=talk
run_ok stream --config config.xml --drain -- python3 lines.py 'answer(seq, send=[{"queue": "Out", "type": "T.Sent", "headers": {"Note": "n"}, "body": "one"}, {"queue": "Out", "body_base64": "AAE="}, {"to": "all", "body": "b"}])'
same 'T.Sent n parent talk' "$(value Out '" ".join([headers["NServiceBus.EnclosedMessageTypes"], headers["Note"], headers["NServiceBus.RelatedTo"], headers["NServiceBus.ConversationId"]])')"
same 'one 0001' "$(queue-inspect take Out --max 1) $(queue-inspect take Out | od -An -tx1 | tr -d ' \n')"
same '1 1 B' "$(count site.A) $(count site.B) $(value site.B 'headers["NServiceBus.DestinationSites"]')"
for send in '{"to": "Nowhere", "body": "b"}' '{"queue": "Nope", "body": "b"}' '{"type": "T", "body": "b"}'; do
  printf x | put
  run_exit 1 stream --config config.xml --drain --retries 0 -- python3 lines.py 'answer(seq, send=[{"queue": "Out", "body": "c"}, '"$send"'])'
  like '^held messages were not sent: ' "$(value error 'headers["NServiceBus.ExceptionInfo.Message"]')" "$send: the attempt failed"
  fresh_errors
done
same 0 "$(count Out)" 'and nothing was sent'

# --- a broken protocol --------------------------------------------------------------------------------------------------------------------------
seq 1 3 | queue-inspect put Q --lines -q
for words in 'hello world' '{"seq":1}' '{"seq":99999,"result":"ok"}' '[1]' '{"seq":1,"result":"maybe"}' ''; do
  rm -f 'done'
  SAY=$words run_ok stream --capacity 3 --drain -- python3 lines.py '
if not os.path.exists("done"):
    open("done", "w")
    print(os.environ["SAY"], flush=True)
    import time
    time.sleep(100)
answer(seq)'
  like 'error protocol-broken ' "$err" "an event: $words"
  [ -z "$words" ] || like "${words%% *}" "$(grep -m 1 protocol-broken <<<"$err" | tr -d '\134')" 'it quotes the line'
  seq 1 3 | queue-inspect put Q --lines -q
done
same '0 0 0' "$(value Q '" ".join(str(x["attempts"]) for x in m)')"
run_ok stream --drain --capacity 3 -- python3 lines.py

# --- a handler that dies -------------------------------------------------------------------------------------------------------------------------
seq 1 20 | queue-inspect put Q --lines -q
rm -f seen 'done'
run_ok timeout 50 distributor worker --stream --queue Q --drain --capacity 4 -- python3 lines.py '
if body == "10" and not os.path.exists("done"):
    open("done", "w")
    os.kill(os.getpid(), 9)
answer(seq)'
like 'handler-died .*reason="signal 9 \(SIGKILL\)"' "$err"
like 'attempt-interrupted ' "$err" 'the unanswered ones are interrupted'
same "$(seq 1 20)" "$(python3 -c 'import json
for n in sorted({int(json.loads(line)["body"]) for line in open("seen")}): print(n)')" 'and come again'
same 1 "$(python3 -c 'import json
print(max(json.loads(line)["attempt"] for line in open("seen")))')" 'no attempt is counted as failed'
seq 1 5 | queue-inspect put Q --lines -q
run_exit 1 timeout 50 distributor worker --stream --queue Q --drain --capacity 5 -- python3 lines.py '
if body == "2": os._exit(7)
answer(seq)'
same 'Gatepost.Interrupted interrupted 2' "$(value error 'headers["NServiceBus.ExceptionInfo.ExceptionType"] + " " + headers["NServiceBus.ExceptionInfo.Message"] + " " + str(m[0]["seq"] - m[0]["seq"] + 2)')"
same 1 "$(count error)" 'the one that kills it ends in the error queue, the others are handled'
same 2 "$(queue-inspect take error)"
seq 1 2 | queue-inspect put Q --lines -q
run_exit 78 distributor worker --stream --queue Q --drain -- ./no-such
same 2 "$(count Q)"
run_ok stream --drain -- python3 lines.py

# --- SIGTERM ----------------------------------------------------------------------------------------------------------------------------------------
seq 1 10 | queue-inspect put Q --lines -q
rm -f seen
start_daemon w distributor worker --stream --queue Q --capacity 3 -- python3 lines.py '
waiting.append(seq)
if len(waiting) == 3:
    for _ in sys.stdin: pass
    open("eof", "w")
    for seq in waiting[:2]: answer(seq)'
seen3() { [ -e seen ] && [ "$(wc -l <"./seen")" -ge 3 ]; }
wait_until 10 seen3
stop_daemon w
check 'its stdin was closed' [ -e eof ]
same '8 0' "$(count Q) $(value Q 'sum(x["attempts"] for x in m)')" 'what it answered then is acked, the rest given back'
start_daemon w distributor worker --stream --queue Q --capacity 3 -- sh -c 'trap "" TERM; echo up >up; sleep 100'
wait_until 10 [ -e up ]
begin=$SECONDS
stop_daemon w
check 'a handler that does not end is killed in time' [ $((SECONDS - begin)) -le 10 ]
same 8 "$(count Q)"
kill_worker() { kill_daemon "$1"; }
rm -f seen
start_daemon w distributor worker --stream --queue Q --capacity 3 -- python3 lines.py 'pass'
wait_until 10 seen3
kill_worker w
run_ok stream --drain --capacity 8 -- python3 lines.py
same 0 "$(count Q)" 'worker killed: its messages come again'

# --- it reads slowly -----------------------------------------------------------------------------------------------------------------------------------
head -c 60000 /dev/zero | tr '\0' y >middle
for _ in 1 2 3 4 5 6 7 8 9 10; do cat middle; echo; done >ten
for _ in 1 2 3 4 5 6; do cat ten; done | queue-inspect put Q --lines -q
run_ok stream --drain --capacity 60 -- python3 -c '
import json, sys, time
time.sleep(0.5)
for line in sys.stdin:
    message = json.loads(line)
    print(json.dumps({"seq": message["seq"], "result": "ok" if len(message["body"]) == 60000 else "fail"}), flush=True)'
same 0 "$(count Q)" 'more than a pipe holds'

# --- frames, and the examples ------------------------------------------------------------------------------------------------------------------------------
examples=$SRC/scripts/examples
read -ra compiler <<<"${CXX:-g++}"
"${compiler[@]}" -O1 -std=c++20 -o stream-handler "$examples/stream-handler.cpp" || fail 'the C++ example compiles'
check_example() { # WHAT FORWARDS OPTION... -- CMD...
  local what=$1 forwards=$2
  shift 2
  fresh_errors
  printf 'shout' | put --header Forward=Out
  printf 'bad' | put
  printf 'later' | put
  put big
  run_exit 1 timeout 20 distributor worker --queue Q --drain --retries 1 --immediate-retries 0 --capacity 3 "$@"
  same 2 "$(count error)" "$what: one refused, one too late"
  [ "$forwards" = 0 ] || same SHOUT "$(queue-inspect take Out)" "$what: it sends"
  same '0 0' "$(count Q) $(count Out)" "$what: all is done"
}
check_example 'Python, lines' 1 --stream -- "$examples/stream-handler.py"
check_example 'Python, frames' 1 --stream=binary -- "$examples/stream-handler.py" --binary
check_example 'C++, frames' 0 --stream=binary -- ./stream-handler
if command -v jq >jq.path; then check_example 'shell, lines' 1 --stream -- "$examples/stream-handler.sh"; else skip 4 'no jq'; fi
printf 'x' | put
run_ok stream --drain --stream=binary -- python3 -c '
import sys
length = int.from_bytes(sys.stdin.buffer.read(4), "big")
import json
seq = json.loads(sys.stdin.buffer.read(length))["seq"]
head = json.dumps({"seq": seq, "result": "ok", "send": [{"queue": "Out", "body_bytes": 3}, {"queue": "Out", "body_bytes": 2}]}).encode()
sys.stdout.buffer.write(len(head).to_bytes(4, "big") + head + b"\x00\x01\x02zz")
sys.stdout.flush()
sys.stdin.buffer.read()'
same '000102 zz' "$(queue-inspect take Out --max 1 | od -An -tx1 | tr -d ' \n') $(queue-inspect take Out)" 'bodies behind the head of an answer'
done_testing
