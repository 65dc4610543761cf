#!/bin/sh
# A run on two machines that see one folder under the same path.
#
#   machine 1:  sh two-machines.sh 0
#   machine 2:  sh two-machines.sh 1
#   when both are done, on one of them:  sh two-machines.sh finish
#
# The same line again resumes what was stopped, also on another machine.
set -eu
RUN=${RUN:-/shared/reports/large}
PROMPTS=${PROMPTS:-/shared/prompts.txt}

if [ "$1" = finish ]; then
  # Encodes what may be missing, so it is correct even if a machine encoded less than its share.
  evalkit score "$RUN" --metrics fid,clip_score
  evalkit report "$RUN"
else
  # Shards are counted from 0: 0/2 and 1/2.
  evalkit generate --models dalle --prompts "$PROMPTS" --out "$RUN" --shard "$1/2"
  evalkit encode "$RUN" --metrics fid,clip_score --shard "$1/2"
fi
