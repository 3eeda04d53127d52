#!/bin/bash
# The models of the protocols: the full ones have no fault, every seeded error is found. MODEL_FULL=1 explores more states.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1
number=0
for model in transfer receive handle group_sync distributor; do
    while IFS= read -r line; do
        case $line in
        1..*) continue ;;
        'ok '* | 'not ok '*)
            number=$((number + 1))
            rest=${line#* - }
            echo "${line%%ok*}ok $number - $model: $rest"
            ;;
        *) echo "$line" ;;
        esac
    done < <(timeout 300 python3 "$here/$model.py" ${MODEL_FULL:+--full} 2>&1 || echo "not ok 0 - the model ends with status $?")
done
echo "1..$number"
