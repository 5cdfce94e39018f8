#!/usr/bin/env bash
# A shard of many videos for each task of a SLURM array:
#
#     sbatch --array=1-16 slurm_array.sh videos/ --masks masks/ --method stm \
#         --weights stm.safetensors --out out/
#
# A task that failed or was preempted goes on where it was when it is submitted again.
# To submit some of them again say how many there were in all: SHARDS=16 sbatch
# --array=3,7 slurm_array.sh ...
#SBATCH --job-name=vos_jax
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -eu
shards=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}
exec vos-jax segment-many "$@" --shard "$SLURM_ARRAY_TASK_ID/$shards" --keep-going
