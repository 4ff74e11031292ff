#!/bin/sh
# Tiny Qwen3-VL on pictures and clips, text model, tower and mergers trained, 2 ranks: tensor 2 + sequence
# parallel. The tower learns with a rate of its own.
# Memory: 150 MiB per rank. Time: 20 s on two cores.
# usage: sft-vl-tp2.sh MODEL CHECKPOINT OUTPUT [FLAGS...]
#   MODEL: tiny-model vl MODEL; needs megatron-sft and mpirun on the PATH
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
# shellcheck disable=SC2086
exec $ranks -n 2 megatron-sft \
  --load "$checkpoint" \
  --model "$model" \
  --save "$output" \
  $finetune \
  $tiny \
  --tensor_model_parallel_size 2 \
  --sequence_parallel true \
  --freeze_vit false \
  --freeze_aligner false \
  --vit_lr 1e-3 \
  --aligner_lr 2e-3 \
  --dataset "$here/pictures.jsonl" "$here/video.jsonl" \
  --split_dataset_ratio 0 \
  --max_epochs 12 \
  "$@"
