#!/bin/sh
# Qwen3-VL-4B on text, pictures and clips, full fine-tuning of the text model and the mergers, 4 ranks of one
# node: tensor 4 + sequence parallel.
# Memory: weights in bf16 8.3 GiB over 4 ranks (the tower, 0.8 GiB, on each); state 14 bytes per trained weight.
# usage: sft-tp4.sh MODEL CHECKPOINT OUTPUT DATASET... [-- FLAGS...]
#   CHECKPOINT: megatron-export --model MODEL --to_mcore true --torch_dtype bfloat16 --output_dir CHECKPOINT
set -eu
model=$1 checkpoint=$2 output=$3
shift 3
data=""
while [ $# -gt 0 ] && [ "$1" != -- ]; do data="$data $1"; shift; done
[ $# = 0 ] || shift
export IMAGE_MAX_TOKEN_NUM="${IMAGE_MAX_TOKEN_NUM:-1024}"
export VIDEO_MAX_TOKEN_NUM="${VIDEO_MAX_TOKEN_NUM:-128}"
export FPS_MAX_FRAMES="${FPS_MAX_FRAMES:-16}"
# shellcheck disable=SC2086
exec mpirun ${MPIRUN_FLAGS:-} -n 4 megatron-sft \
  --load "$checkpoint" \
  --model "$model" \
  --dataset $data \
  --load_from_cache_file true \
  --split_dataset_ratio 0.01 \
  --tensor_model_parallel_size 4 \
  --sequence_parallel true \
  --freeze_vit true \
  --freeze_aligner false \
  --aligner_lr 2e-6 \
  --micro_batch_size 1 \
  --global_batch_size 8 \
  --recompute_granularity full \
  --recompute_method uniform \
  --recompute_num_layers 1 \
  --max_epochs 1 \
  --finetune true \
  --lr 1e-5 \
  --lr_warmup_fraction 0.05 \
  --min_lr 1e-6 \
  --save "$output" \
  --eval_interval 500 \
  --save_interval 500 \
  --max_length 4096 \
  --packing true \
  --num_workers 4 \
  --dataset_num_proc 4 \
  --no_save_optim true \
  --no_save_rng true \
  --attention_backend flash "$@"
