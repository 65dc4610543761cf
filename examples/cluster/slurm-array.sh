#!/bin/bash
#SBATCH --job-name=evalkit
#SBATCH --array=0-63%16
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
#
# 64 shards as an array of jobs, 16 at a time. Three steps, each after the end of the one before:
#
#   first=$(sbatch --parsable slurm-array.sh generate)
#   second=$(sbatch --parsable --dependency=afterok:$first slurm-array.sh encode)
#   sbatch --dependency=afterok:$second --array=0 slurm-array.sh finish
#
# A job that reaches its limit of time has kept its images: submit the same array again.
set -euo pipefail
RUN=${RUN:-/shared/reports/large}
PROMPTS=${PROMPTS:-/shared/prompts.txt}

# Slurm says in SLURM_ARRAY_TASK_ID and ..._COUNT which shard a job is.
case $1 in
  generate)
    evalkit generate --models dalle --prompts "$PROMPTS" --out "$RUN"
    ;;
  encode)
    evalkit encode "$RUN" --metrics fid,clip_score
    ;;
  finish) # one job, --array=0
    evalkit score "$RUN" --metrics fid,clip_score
    evalkit report "$RUN"
    ;;
esac
