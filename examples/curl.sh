#!/bin/sh
# curl both ways, as x0 asks: tab-b waits for a message, tab-a sends one.
#   examples/curl.sh [http://127.0.0.1:8080]
set -eu
relay=${1:-http://127.0.0.1:8080}

# ask PATH BODY: prints the answer; x0 answers are always 200, anything else fails.
ask() {
    curl --silent --show-error --fail-with-body --header 'Content-Type: application/json' --data "$2" "$relay$1"
}

# The poll stays open until there is a message, ten seconds at most.
(answer=$(ask /get '{"type":"GET","session_src":"tab-b"}') && echo "tab-b got $answer") &
poll=$!

# A message is any JSON object; it arrives as it was written, with the sender's session added.
answer=$(ask /set '{"session_src":"tab-a","session_dst":"tab-b","payload":{"text":"hello","n":12345678901234567890}}')
echo "tab-a got $answer"

wait "$poll"
