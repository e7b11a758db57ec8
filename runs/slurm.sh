#!/usr/bin/env bash
# Train on nodes of 8 GPUs under SLURM:
#
#   sbatch --nodes 2 runs/slurm.sh configs/qwen_audio_7b_multitask.yaml --set batches_per_step=16
#
# One torchrun a node starts one process a GPU. `batches_per_step` must be a multiple of the number of GPUs. A job that
# was cut off goes on from its newest checkpoint when it is submitted again; --requeue lets SLURM do that.
#SBATCH --job-name=qwen-audio
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail
# Where the configuration reads and writes; a file system that all nodes see.
: "${DATA:?set DATA to the folder with train.jsonl}"
: "${START:?set START to the model to start from}"
: "${OUT:?set OUT to the folder for checkpoints}"
export DATA START OUT
export OMP_NUM_THREADS=1  # the data processes are many, and each has one thread
export MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 bash -c 'exec torchrun \
  --nnodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-backend c10d --rdzv-endpoint "$MASTER:29500" --rdzv-id "$SLURM_JOB_ID" \
  -m qwen_audio train "$@"' torchrun "$@"
