# What the tiny recipes share, on top of what all do; read by `.`, with $here set to this folder. All run in
# seconds on two cores.
# The pictures of the rows lie beside them, and are read small.
export ROOT_IMAGE_DIR="$here"
: "${IMAGE_MAX_TOKEN_NUM:=64}" "${VIDEO_MAX_TOKEN_NUM:=16}" "${FPS_MAX_FRAMES:=4}"
. "$here/../common.sh"

ranks="mpirun --oversubscribe --bind-to none ${MPIRUN_FLAGS:-}"
tiny="
  --global_batch_size 4
  --max_length 512
  --lr 5e-3
  --min_lr 1e-4
  --num_workers 1
  --dataset_num_proc 2
  --threads 1"
