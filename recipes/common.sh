# What the recipes share. A recipe reads it by `.` as its first act; it finds
#   model, checkpoint, output  the first three arguments
#   "$@"                       the rest without `--`: data sets, then more flags. It ends the command, behind
#                              --dataset (or alone where the data is fixed): the last of two equal flags counts.
#   $finetune, $published      flags, to be written without quotes
set -eu
if [ $# -lt 3 ]; then
  sed -n 's/^# usage:/usage:/p' "$0" >&2
  exit 64
fi
model=$1 checkpoint=$2 output=$3
shift 3
for word in "$@"; do
  shift
  [ "$word" = -- ] || set -- "$@" "$word"
done

# Largest pictures and clips, in tokens, and frames of a clip.
export IMAGE_MAX_TOKEN_NUM="${IMAGE_MAX_TOKEN_NUM:-1024}"
export VIDEO_MAX_TOKEN_NUM="${VIDEO_MAX_TOKEN_NUM:-128}"
export FPS_MAX_FRAMES="${FPS_MAX_FRAMES:-16}"

# Full fine-tuning on packed rows from a converted model; weights alone are saved.
finetune="
  --finetune true
  --packing true
  --micro_batch_size 1
  --lr_warmup_fraction 0.05
  --eval_interval 500
  --save_interval 500
  --no_save_optim true
  --no_save_rng true"

# One epoch of a published model, at the cost of a second forward pass.
published="
  --load_from_cache_file true
  --split_dataset_ratio 0.01
  --max_length 4096
  --max_epochs 1
  --lr 1e-5
  --min_lr 1e-6
  --recompute_granularity full
  --recompute_method uniform
  --recompute_num_layers 1
  --attention_backend flash"
