#!/bin/sh
# Tiny Qwen3-VL-MoE on text, pictures and clips, full fine-tuning with a frozen tower, 2 ranks: tensor 2
# + sequence parallel, experts over both ranks.
# Memory: 150 MiB per rank. Time: 20 s on two cores.
# usage: sft-vl-moe-tp2-ep2.sh MODEL CHECKPOINT OUTPUT [FLAGS...]
#   MODEL: tiny-model vl-moe MODEL; needs megatron-sft and mpirun on the PATH
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
  --expert_model_parallel_size 2 \
  --moe_permute_fusion true \
  --moe_grouped_gemm true \
  --moe_aux_loss_coeff 1e-3 \
  --dataset "$here/data.jsonl#24" "$here/pictures.jsonl" "$here/video.jsonl" \
  --split_dataset_ratio 0.1 \
  --max_epochs 12 \
  "$@"
