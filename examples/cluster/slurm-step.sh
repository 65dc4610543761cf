#!/bin/bash
#SBATCH --job-name=evalkit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#
# One job with eight processes on two machines, each with an accelerator of its own:
#
#   sbatch slurm-step.sh
set -euo pipefail
RUN=${RUN:-/shared/reports/large}
PROMPTS=${PROMPTS:-/shared/prompts.txt}

# Each process takes its shard from SLURM_PROCID, and its accelerator from SLURM_LOCALID.
srun evalkit generate --models dalle --prompts "$PROMPTS" --out "$RUN"
srun evalkit encode "$RUN" --metrics fid,clip_score
# Without srun: one process.
evalkit score "$RUN" --metrics fid,clip_score
evalkit report "$RUN"
