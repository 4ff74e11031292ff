# What the checks share. Read by `.`, after `cd` into the project's folder.
# MEGATRON_BIN names a folder of built programs; without it they are built here.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 SWIFT_BACKTRACE=enable=no
unset NPROC_PER_NODE NNODES NODE_RANK OMP_NUM_THREADS LOG_LEVEL

if [ -z "${MEGATRON_BIN:-}" ]; then
  for product in megatron-sft megatron-export tiny-model compare-weights \
    flip-bits; do
    swift build -c release --product "$product" >&2 || exit 70
  done
  MEGATRON_BIN="$PWD/.build/release"
fi
PATH="$MEGATRON_BIN:$PATH"
export PATH

work=$(mktemp -d "${TMPDIR:-/tmp}/megatron-check.XXXXXX")
# Caches of the checks stay in the work folder.
export HOME="$work" XDG_CACHE_HOME="$work/cache"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

for kind in dense moe vl vl-moe; do tiny-model "$kind" "$work/$kind" || exit 70; done

# Rows of many lengths, always the same: rows COUNT FILE
rows() {
  awk -v count="$1" 'BEGIN {
    split("one two three seven blue green stone river over under because quickly", word, " ")
    state = 12345
    for (i = 0; i < count; i++) {
      question = ""; answer = ""
      state = (state * 1103515 + 12345) % 2147483; n = 1 + state % 6
      for (j = 0; j < n; j++) {
        state = (state * 1103515 + 12345) % 2147483; question = question " " word[1 + state % 12] }
      state = (state * 1103515 + 12345) % 2147483; n = 1 + state % 4
      for (j = 0; j < n; j++) {
        state = (state * 1103515 + 12345) % 2147483; answer = answer " " word[1 + state % 12] }
      printf "{\"messages\": [{\"role\": \"user\", \"content\": \"%s?\"}, ", substr(question, 2)
      printf "{\"role\": \"assistant\", \"content\": \"%s.\"}]}\n", substr(answer, 2)
    }
  }' >"$2"
}

# ranks N PROGRAM WORDS...: under mpirun for N above 1, with more ranks than cores allowed.
ranks() {
  asked=$1
  shift
  if [ "$asked" = 1 ]; then "$@"; else
    mpirun --oversubscribe --bind-to none -n "$asked" "$@"
  fi
}
