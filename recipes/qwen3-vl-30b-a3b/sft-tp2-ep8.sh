#!/bin/sh
# Qwen3-VL-30B-A3B on text, pictures and clips, full fine-tuning with a frozen tower, 8 ranks of one big node:
# tensor 2 + sequence parallel, experts over all 8 ranks.
# Memory: weights in bf16 58 GiB, gradients and optimizer state 14 bytes per trained weight over 8 ranks.
# usage: sft-tp2-ep8.sh MODEL CHECKPOINT OUTPUT DATASET... [-- FLAGS...]
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
exec mpirun ${MPIRUN_FLAGS:-} -n 8 megatron-sft \
  --load "$checkpoint" \
  --model "$model" \
  --dataset $data \
  --load_from_cache_file true \
  --split_dataset_ratio 0.01 \
  --moe_permute_fusion true \
  --tensor_model_parallel_size 2 \
  --expert_model_parallel_size 8 \
  --moe_grouped_gemm true \
  --moe_shared_expert_overlap true \
  --moe_aux_loss_coeff 1e-6 \
  --micro_batch_size 1 \
  --global_batch_size 4 \
  --recompute_granularity full \
  --recompute_method uniform \
  --recompute_num_layers 1 \
  --max_epochs 1 \
  --finetune true \
  --cross_entropy_loss_fusion true \
  --lr 1e-5 \
  --lr_warmup_fraction 0.05 \
  --min_lr 1e-6 \
  --save "$output" \
  --eval_interval 500 \
  --save_interval 500 \
  --max_length 4096 \
  --packing true \
  --num_workers 8 \
  --dataset_num_proc 8 \
  --no_save_optim true \
  --no_save_rng true \
  --sequence_parallel true \
  --moe_expert_capacity_factor 2 \
  --optimizer_cpu_offload true \
  --use_precision_aware_optimizer true \
  --optimizer_offload_fraction 0.2 \
  --attention_backend flash "$@"
