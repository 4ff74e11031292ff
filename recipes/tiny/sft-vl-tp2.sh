#!/bin/sh
# Tiny Qwen3-VL on pictures and clips, text model, tower and mergers trained, 2 ranks: tensor 2 + sequence
# parallel. The tower learns with a rate of its own.
# Memory: 150 MiB per rank. Time: 20 s on two cores.
# usage: sft-vl-tp2.sh MODEL CHECKPOINT OUTPUT [FLAGS...]
# (MODEL is made by `tiny-model vl`; needs megatron-sft and mpirun on the PATH)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
model=$1 checkpoint=$2 output=$3
shift 3
export ROOT_IMAGE_DIR="$here"
export IMAGE_MAX_TOKEN_NUM=64 VIDEO_MAX_TOKEN_NUM=16 FPS_MAX_FRAMES=4
exec mpirun --oversubscribe --bind-to none -n 2 megatron-sft \
  --load "$checkpoint" \
  --model "$model" \
  --dataset "$here/pictures.jsonl" "$here/video.jsonl" \
  --split_dataset_ratio 0 \
  --tensor_model_parallel_size 2 \
  --sequence_parallel true \
  --freeze_vit false \
  --freeze_aligner false \
  --vit_lr 1e-3 \
  --aligner_lr 2e-3 \
  --micro_batch_size 1 \
  --global_batch_size 4 \
  --packing true \
  --max_length 512 \
  --max_epochs 12 \
  --finetune true \
  --lr 5e-3 \
  --min_lr 1e-4 \
  --lr_warmup_fraction 0.05 \
  --save "$output" \
  --save_interval 500 \
  --no_save_optim true \
  --no_save_rng true \
  --num_workers 1 \
  --dataset_num_proc 2 \
  --threads 1 "$@"
