#!/bin/sh
# A handful of power cuts, for every run of the tests; `run --rounds 50` is the real thing.
exec "$(dirname "$0")/run" --rounds "${LH_CRASH_ROUNDS:-4}" "$@"
