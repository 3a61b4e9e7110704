#!/bin/sh
# The same back end with curl: backend.sh RELAY SESSION [JOB [STEPS]]
set -eu
relay=$1 session=$2 job=${3:-upload.zip} total=${4:-10}
run=$$-$(date +%s)

done=0
while [ "$done" -le "$total" ]; do
    # Again and again for a minute when the relay is away or asks to wait (curl heeds Retry-After): the key says that it is
    # the same message.
    curl --silent --show-error --fail-with-body --retry 20 --retry-all-errors --retry-max-time 60 --output /dev/null \
        --header "Idempotency-Key: $run-$done" \
        --json "{\"to\":\"session:$session\",\"type\":\"progress\",\"ttl\":600,\"payload\":{\"job\":\"$job\",\"done\":$done,\"total\":$total}}" \
        "$relay/v1/messages"
    done=$((done + 1))
    sleep 0.25 # the work
done
