#!/bin/sh
# A producer of tasks with nothing but redis-cli, by the contract in docs/queue.md.
#
#   REDIS=redis://127.0.0.1:6379 QUEUE=default producer.sh SOURCE lh://HOST/PATH [high|normal|low]
#
# SOURCE is a path at the workers. What else a task may carry (retries, limit-rate, ...) is added as
# further pairs of field and value. Prints the task's id: the priority's first letter and the entry's.
set -eu
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: $0 SOURCE lh://HOST/PATH [high|normal|low]" >&2
    exit 2
fi
priority=${3:-normal}

# The braces put all keys of a queue into one slot of a Redis Cluster.
entry=$(redis-cli -e -u "${REDIS:-redis://127.0.0.1:6379}" --no-auth-warning \
    XADD "longhaul:{${QUEUE:-default}}:tasks:$priority" '*' \
    v 1 source "$1" destination "$2")
echo "${priority%"${priority#?}"}$entry"
