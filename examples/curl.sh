#!/bin/sh
# Score texts, one a line: ./curl.sh < texts.txt gives label, score and text of each. Needs curl 7.76 and jq.
# BASE_URL and API_KEY say whom to ask and as whom. Status 429 and 503 are waited for as Retry-After says, for a minute.
set -eu

texts=$(jq --raw-input --null-input '[inputs | select(test("\\S"))]')
answer=$(printf '{"text": %s, "top_k": 1}' "$texts" |
    curl --silent --show-error --fail-with-body --retry 5 --retry-max-time 60 --max-time 60 \
        --header 'Content-Type: application/json' ${API_KEY:+--header "X-API-Key: $API_KEY"} \
        --data-binary @- "${BASE_URL:-http://127.0.0.1:8000}/predict") || {
    status=$?
    echo "$answer" >&2
    exit "$status"
}
printf '%s' "$answer" |
    jq --raw-output --argjson texts "$texts" '.predictions | to_entries[] | [.value[0].label, .value[0].score, $texts[.key]] | @tsv'
