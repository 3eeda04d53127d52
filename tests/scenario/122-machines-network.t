#!/bin/bash
# Machines in networks of their own: links that are cut and come back, packets that are lost; nothing is lost or comes twice.
# CUTS=N cuts the link N times (6).
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$SRC/tests/netns-lib.sh"
cuts=${CUTS:-6}

need_machines
make_machines vm1 vm2
configure_machines 'ConnectTimeout="300ms" AnswerTimeout="700ms" RetryIncrement="100ms" Retries="1000"' vm2 'Concurrency="8"'
for name in vm1 vm2; do start_gateway "$name"; done
run_ok on vm2 queue-inspect create Sales error
run_ok on vm1 queue-inspect create answers error

# --- a request and its answer, each machine by its name ---
run_ok on vm1 queue-inspect put Sales@vm2 --id q-1 --header NServiceBus.ReplyToAddress=answers@vm1 "$SRC/LICENSE"
run_ok on vm2 queue-inspect wait Sales --for id=q-1 --timeout 20s
printf 'yes' >answer
run_ok on vm2 gw-send reply --of q-1:Sales --endpoint Sales answer
run_ok on vm1 queue-inspect wait answers --for count=1 --timeout 20s
same "yes q-1 Reply" "$(on vm1 queue-inspect show answers --all --json | jq -r '"\(.body) \(.headers["NServiceBus.RelatedTo"]) \(.headers["NServiceBus.MessageIntent"])"')"
check "the body is the same" bash -c "$(declare -f on); $(declare -p IP _lan T) ; on vm2 queue-inspect take Sales q-1 | cmp - '$SRC/LICENSE'"

# --- cut and mended while messages are on their way, in both directions ---
count=$((cuts * 100))
on vm1 bash -c "seq $count | queue-inspect put Sales@vm2 --lines --batch 5 --id a -q" &
senders=($!)
on vm2 bash -c "seq $count | queue-inspect put answers@vm1 --lines --batch 5 --id b -q" &
senders+=($!)
lose vm2 10
for ((n = 0; n < cuts; n++)); do
  name=vm$((n % 2 + 1))
  unplug $name
  sleep "0.$((RANDOM % 5 + 1))"
  plug $name
  sleep "0.$((RANDOM % 5 + 1))"
done
lose vm2 0
wait "${senders[@]}"
ids() { on "$1" queue-inspect list "$2" --json | jq -r .id | sort; }
numbered() { seq -f "$1-%g" "$count" | sort; }
all_there() { [ "$(on "$1" queue-inspect list --json | jq "select(.queue == \"$2\") | .ready")" -ge "$3" ]; }
wait_until 60 all_there vm2 Sales "$count"
wait_until 60 all_there vm1 answers $((count + 1))
run_ok on vm1 gw-send flush
run_ok on vm2 gw-send flush
empty() { [ "$(on "$1" queue-inspect list --json | jq "select(.queue == \"machine.$2\") | .ready + .claimed + .deferred")" = 0 ]; }
wait_until 60 empty vm1 vm2
wait_until 60 empty vm2 vm1
check "each of $count has arrived at vm2, once" cmp <(numbered a) <(ids vm2 Sales)
check "each of $count has arrived at vm1, once" cmp <(numbered b) <(ids vm1 answers | grep ^b-)
note "messages that came again and were known: $(grep -c ' duplicate ' listen-vm1.err listen-vm2.err | tr '\n' ' ')"
same 0 "$(on vm1 queue-inspect list error --json | wc -l)" "nothing was given up"

for name in vm1 vm2; do
  stop_daemon "forward-$name"
  stop_daemon "listen-$name"
  run_ok on "$name" queue-inspect check
done
done_testing
