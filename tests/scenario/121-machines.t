#!/bin/bash
# Two machines: what is put for a queue of the other one arrives there as it was put, once.
# asan: yes
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/gateway-lib.sh"

far=$T/far
echo vm2 >name
run_ok queue-inspect create Sales Orders error
start_daemon vm2 gw-listen --root "$far" --machine vm2 --allow-queue 'Sal*' --allow-queue Orders --channel http://127.0.0.1:0/machine/
url=${ready_line#ready }
same vm2 "$(queue-inspect list --root "$far" | sed -n '1s/.*  machine \([^ ]*\)  .*/\1/p')" "a root that it makes is this machine's"
run_ok queue-inspect create Sales Orders Private --root "$far"
cat >config.xml <<END
<gatepost>
  <Gateway RetryIncrement="200ms" Retries="2"/>
  <Machines><Machine Name="vm2" Address="$url" Concurrency="8"/></Machines>
</gatepost>
END
export GW_CONFIG=$T/config.xml
far() { local command=$1; shift; queue-inspect "$command" "$@" --root "$far"; }
ready() { far list --json | jq "select(.queue == \"$1\") | .ready + .deferred"; }
reads() { [ "$(ready "$1")" = "$2" ]; }

# --- as it was put: id, headers with all that is odd, body, order of nothing changed ---
printf 'Gr\303\274n\n' >body.txt
head -c 300000 /dev/urandom >blob.bin
run_ok queue-inspect put Sales@vm2 --id m-1 --type Shop.Order --header 'Note=50% ~ "quoted" +1' --header ReplyToAddress=here --header NServiceBus.ReplyToAddress=answers@vm1 \
  --header NServiceBus.Retries=3 --header NServiceBus.OriginatingSite=http,http://one/ --header 'NServiceBus.Header.RouteTo=x' --header Gatepost.Site=Store17 \
  --header Empty= --header NServiceBus.DestinationSites=A --ttl 1h --attach file=blob.bin body.txt
run_ok gw-send forward --drain
far show Sales m-1 --json >arrived.json
queue-inspect put Orders --id m-1 --type Shop.Order --header 'Note=50% ~ "quoted" +1' --header ReplyToAddress=here --header NServiceBus.ReplyToAddress=answers@vm1 \
  --header NServiceBus.Retries=3 --header NServiceBus.OriginatingSite=http,http://one/ --header 'NServiceBus.Header.RouteTo=x' --header Gatepost.Site=Store17 \
  --header Empty= --header NServiceBus.DestinationSites=A --ttl 1h --attach file=blob.bin body.txt >/dev/null
queue-inspect show Orders m-1 --json >local.json
# What differs from a local put: when, which conversation, which copy of the attachment, and the trace of the put.
names='del(.["NServiceBus.TimeSent"], .["NServiceBus.ConversationId"], .["NServiceBus.DataBus.file"], .traceparent)'
same "$(jq -S ".headers | $names" local.json)" "$(jq -S ".headers | $names" arrived.json)" "all headers, and no others"
same "Grün m-1" "$(jq -r '"\(.body | rtrimstr("\n")) \(.id)"' arrived.json)"
check "the attachment is a file of that machine" cmp blob.bin "$(jq -r '.attachments[0].path' arrived.json)"
like "^$far/databus/" "$(jq -r '.attachments[0].path' arrived.json)"
check "and expires when it did" [ -n "$(jq -r '.expires_at // empty' arrived.json)" ]
check "the sender's copy is gone with its last message" [ "$(find root/databus -name '*-*-*-*' -type f | wc -l)" = 1 ]

# --- due later: over there ---
run_ok queue-inspect put Sales@vm2 --id later --delay 1h body.txt
due=$(queue-inspect list machine.vm2 --json | jq -r '.headers["Gatepost.DueAt"]')
run_ok gw-send forward --drain
same "deferred $due" "$(far show Sales later --json | jq -r '"\(.state) \(.due_at)"')"

# --- the same message again, and to another queue ---
run_ok far purge Sales --all
run_ok queue-inspect create Work
for target in Sales@vm2 Orders@vm2 Sales@vm2; do
  run_ok queue-inspect put "$target" --header NServiceBus.MessageId=again body.txt
done
run_ok gw-send forward --drain
same "2 1" "$(ready Sales) $(ready Orders)" "a message may go to one queue twice, and to another one"

# --- more headers, and larger ones, than a request's head can carry ---
large=$(head -c 9000 /dev/zero | tr '\0' 'x')
run_ok queue-inspect put Sales@vm2 --id large --header "Stack=$large" --header "Other=$large" body.txt
many=()
for n in $(seq 80); do many+=(--header "H$n=$n"); done
run_ok queue-inspect put Sales@vm2 --id many "${many[@]}" --attach file=blob.bin body.txt
run_ok gw-send forward --drain
same "9000 9000" "$(far show Sales large --json | jq -r '"\(.headers.Stack | length) \(.headers.Other | length)"')"
far show Sales many --json >many.json
same 80 "$(jq '[.headers | keys[] | select(test("^H[0-9]+$"))] | length' many.json)"
check "and its attachment" cmp blob.bin "$(jq -r '.attachments[0].path' many.json)"

# --- a queue that is not allowed, or not there: a failed attempt like others ---
for queue in Private SalesNone machine.vm9; do run_ok queue-inspect put "$queue@vm2" --id "no-$queue" body.txt; done
run_exit 1 gw-send forward --drain
same 3 "$(grep -c "reason=\"403 queue '[A-Za-z.0-9]*' is not allowed" <<<"$(grep 'attempt=3' "$T/.err")")" "three attempts each, and the reason"
far_error=$(queue-inspect show error no-Private --json)
like "^403 queue 'Private' is not allowed" "$(jq -r '.headers["NServiceBus.ExceptionInfo.Message"]' <<<"$far_error")"
machine=$(queue-inspect list | sed -n '1s/.*  machine \([^ ]*\)  .*/\1/p')
same "machine.vm2@$machine" "$(jq -r .failed_queue <<<"$far_error")"
same "69 no-Private" "$(gw-send wait --timeout 0 no-Private >/dev/null 2>&1; echo "$? no-Private")"
like "queue-not-allowed queue=Private reason=\"it is not among those of --allow-queue\"" "$(cat vm2.err)"
like "queue-not-allowed queue=SalesNone reason=.no queue" "$(cat vm2.err)"

# --- what an operator has returned goes without retries over there, too ---
run_ok far purge Sales --all
run_ok far create error
run_ok queue-inspect put error --id once-more --header NServiceBus.FailedQ=Sales@vm2 body.txt
run_ok queue-inspect return error once-more
run_ok gw-send forward --drain
run_exit 1 distributor worker --root "$far" --queue Sales --retries 3 --immediate-retries 5 --drain -- sh -c 'cat "$GW_HEADERS_FILE" >>tries; exit 3'
same 1 "$(grep -c '^NServiceBus.MessageId: once-more' tries)" "one attempt"
unlike 'Gatepost.Returned' "$(cat tries)" "the handler does not see why"
like '"failed_queue":"Sales@vm2"' "$(far list error --json)"

# --- out of order: no attempt is used up, whatever --outages says; wait, status, flush ---
kill_daemon vm2
run_ok queue-inspect put Sales@vm2 --id patient body.txt
start_daemon forward gw-send forward --retries 0 --outages count --probe-interval 10m
wait_until 10 grep -q 'site-down site=@vm2' forward.err
run_exit 75 gw-send wait --timeout 0 patient
like '^@vm2 stored .*attempts=0' "$out"
same "@vm2 down 1 $url" "$(gw-send status --json --to '@vm*' | jq -r 'select(.kind == "site") | "\(.site) \(.state) \(.waiting) \(.address)"')"
like '@vm2 +down' "$(gw-send status)"
run_exit 64 gw-send status --to @vm3
like 'the following machines have not been configured: @vm3' "$err"
start_daemon vm2 gw-listen --root "$far" --machine vm2 --channel "$url"
run_ok gw-send flush --to @vm2
run_ok gw-send wait --timeout 10s -v patient
like '^@vm2 delivered' "$out"
stop_daemon forward
run_ok gw-send forward --to @vm2 --once
run_exit 64 gw-send forward --to @vm3 --once

# --- all queues but outboxes are allowed when no list is given; without the header nothing comes in ---
run_ok queue-inspect put Private@vm2 --id now body.txt
run_ok far create machine.vm9 site.A
run_ok queue-inspect put machine.vm9@vm2 --id relay body.txt
run_exit 1 gw-send forward --drain
same "1 0" "$(ready Private) $(ready machine.vm9)"
http() { curl -s -o /dev/null -w '%{http_code} %{errormsg}' "$@"; curl -s "$@"; }
like '^400 .*Gatepost.DestinationQueue. missing' "$(http -d x -H 'NServiceBus.Id: c-1' -H 'NServiceBus.CallType: SingleCallSubmit' "$url")"
like '^403 .*queue .Nothing. is not allowed' "$(http -d x -H 'NServiceBus.Id: c-1' -H 'NServiceBus.CallType: SingleCallSubmit' -H 'Gatepost.DestinationQueue: Nothing' "$url")"
like '^403 .*is not allowed' "$(http -d x -H 'NServiceBus.Id: c-1' -H 'NServiceBus.CallType: SingleCallSubmit' -H 'Gatepost.DestinationQueue: ../Private' "$url")"
like 'vm2 - Status: Ok' "$(curl -s "$url")"
check "the ids are remembered in a store of their own" [ "$(gw-dedup list --root "$far" --endpoint machine.vm2 --json | wc -l)" -ge 8 ]

# --- an error queue over there; what fails on its own way there stays here ---
run_ok gw-send --to Gone --site Gone=http://127.0.0.1:1/ --id lost body.txt
printf 'x\n' | gw-send --to Gone --site Gone=http://127.0.0.1:1/ --id lost-too -q >/dev/null
run_exit 1 gw-send forward --drain --retries 0 --site Gone=http://127.0.0.1:1/ --error-queue Sales@vm2
same "lost lost-too site.Gone@$(cat root/machine)" "$(far list Sales --where id~lost --json | jq -r '.id, .failed_queue' | sort -u | xargs)"
like '^NServiceBus.ExceptionInfo.Message: no answer: ' "$(far show Sales lost --headers)"
run_ok queue-inspect put site.A@vm2 --id refused body.txt
sed 's/<Gateway /<Gateway ErrorQueue="error@vm2" /' config.xml >errors.xml
run_exit 1 gw-send forward --drain --retries 0 --config errors.xml
like "^NServiceBus.FailedQ: machine.vm2@$(cat root/machine)" "$(queue-inspect show error refused --headers)" "... with the headers that bring it back"
like "^Gatepost.DestinationQueue: site.A$" "$(queue-inspect show error refused --headers)"
run_exit 64 gw-send forward --once --error-queue error@vm3
like 'the following machines have not been configured: vm3' "$err"
run_exit 64 gw-send forward --once --error-queue error@
stop_daemon vm2

# --- an endpoint's listener takes nothing for other queues ---
start_daemon endpoint gw-listen --root "$far" --endpoint Shop --channel "$url"
run_ok queue-inspect put Sales@vm2 --id wrong-door body.txt
run_exit 1 gw-send forward --drain --retries 0
like "403 queue 'Sales' is not allowed" "$(queue-inspect show error wrong-door --headers)"
stop_daemon endpoint
run_exit 64 gw-listen --root "$far" --channel "$url" --allow-queue Sales --endpoint Shop
run_exit 64 gw-listen --root "$far" --channel "$url" --machine 'a b'
run_exit 64 gw-listen --root "$far" --channel "$url"
run_ok queue-inspect check
run_ok queue-inspect check --root "$far"
done_testing
