#!/bin/bash
# A handler of many messages in shell: one JSON line in, one JSON line out. Needs jq.
#     distributor worker --queue Prices --stream --capacity 16 -- stream-handler.sh
# A body that says "later" comes again in a second, one that says "bad" goes to the error queue; all others are passed on in capitals
# to the queue that the header Forward names, if there is one.
set -u
while IFS= read -r line; do
  seq=$(jq -r .seq <<<"$line")
  case $(jq -r '.body // ""' <<<"$line") in
    later) printf '{"seq":%s,"result":"retry","delay_s":1,"reason":"not yet"}\n' "$seq" ;;
    bad) printf '{"seq":%s,"result":"fail","reason":"nobody wants this"}\n' "$seq" ;;
    *)
      jq -c '{seq, result: "ok"} + if .headers.Forward then {send: [{queue: .headers.Forward, headers: {Handler: "sh"}, body: (.body // "" | ascii_upcase)}]}
             else {} end' <<<"$line"
      ;;
  esac
done
