#!/bin/sh
# Qwen3-VL-30B-A3B on text, pictures and clips, full fine-tuning with a frozen tower, 8 ranks of one big node:
# tensor 2 + sequence parallel, experts over all 8 ranks.
# Memory: weights in bf16 58 GiB, gradients and optimizer state 14 bytes per trained weight over 8 ranks.
# usage: sft-tp2-ep8.sh MODEL CHECKPOINT OUTPUT DATASET... [-- FLAGS...]
#   CHECKPOINT: megatron-export --model MODEL --to_mcore true --torch_dtype bfloat16 --output_dir CHECKPOINT
. "$(dirname "$0")/../common.sh"
# shellcheck disable=SC2086
exec mpirun ${MPIRUN_FLAGS:-} -n "${RANKS:-8}" megatron-sft \
  --load "$checkpoint" \
  --model "$model" \
  --save "$output" \
  $finetune \
  $published \
  --tensor_model_parallel_size 2 \
  --sequence_parallel true \
  --expert_model_parallel_size 8 \
  --global_batch_size "${GLOBAL_BATCH_SIZE:-4}" \
  --moe_permute_fusion true \
  --moe_grouped_gemm true \
  --moe_shared_expert_overlap true \
  --moe_aux_loss_coeff 1e-6 \
  --moe_expert_capacity_factor 2 \
  --cross_entropy_loss_fusion true \
  --use_precision_aware_optimizer true \
  --optimizer_cpu_offload true \
  --optimizer_offload_fraction 0.2 \
  --num_workers 8 \
  --dataset_num_proc 8 \
  --dataset "$@"
