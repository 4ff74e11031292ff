#!/bin/sh
# Qwen3-VL-4B on text, pictures and clips, full fine-tuning of the text model and the mergers, 4 ranks of one
# node: tensor 4 + sequence parallel.
# Memory: weights in bf16 8.3 GiB over 4 ranks (the tower, 0.8 GiB, on each); state 14 bytes per trained weight.
# usage: sft-tp4.sh MODEL CHECKPOINT OUTPUT DATASET... [-- FLAGS...]
#   CHECKPOINT: megatron-export --model MODEL --to_mcore true --torch_dtype bfloat16 --output_dir CHECKPOINT
. "$(dirname "$0")/../common.sh"
# shellcheck disable=SC2086
exec mpirun ${MPIRUN_FLAGS:-} -n 4 megatron-sft \
  --load "$checkpoint" \
  --model "$model" \
  --save "$output" \
  $finetune \
  $published \
  --tensor_model_parallel_size 4 \
  --sequence_parallel true \
  --global_batch_size 8 \
  --freeze_vit true \
  --freeze_aligner false \
  --aligner_lr 2e-6 \
  --num_workers 4 \
  --dataset_num_proc 4 \
  --dataset "$@"
