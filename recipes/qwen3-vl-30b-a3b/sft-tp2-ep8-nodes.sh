#!/bin/sh
# Qwen3-VL-30B-A3B as in sft-tp2-ep8.sh beside this file, on several nodes: 16 ranks, data 8, of which two hold the
# same experts. Name the nodes in MPIRUN_FLAGS (--hostfile hosts); RANKS is another multiple of 8.
# Memory: weights as on one node, optimizer state over twice the ranks.
# usage: sft-tp2-ep8-nodes.sh MODEL CHECKPOINT OUTPUT DATASET... [-- FLAGS...]
#   CHECKPOINT: megatron-export --model MODEL --to_mcore true --torch_dtype bfloat16 --output_dir CHECKPOINT
set -eu
export RANKS="${RANKS:-16}" GLOBAL_BATCH_SIZE="${GLOBAL_BATCH_SIZE:-8}"
exec "$(dirname "$0")/sft-tp2-ep8.sh" "$@"
