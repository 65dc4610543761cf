#!/bin/sh
# A run on a cluster of Ray, whose machines see one folder under the same path:
#
#   RAY_ADDRESS=http://HEAD:8265 sh ray-job.sh
#
# The job starts 64 shards as tasks of Ray, again where a machine is lost, then scores and reports.
set -eu
RUN=${RUN:-/shared/reports/large}
PROMPTS=${PROMPTS:-/shared/prompts.txt}

ray job submit -- \
  evalkit run --models dalle --prompts "$PROMPTS" --out "$RUN" --engine ray --shards 64
