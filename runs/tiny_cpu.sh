#!/usr/bin/env bash
# The whole recipe in miniature: from nothing to a checkpoint on 2 CPU cores, in at most 90 minutes.
#
#   runs/tiny_cpu.sh                        synthetic world only
#   CORPUS=/path/to/corpus runs/tiny_cpu.sh with real recordings (a folder with train.jsonl)
#
# Arguments go to every run, for example --set max_minutes=0.1 to see that all of it works.
# OUT (default out/tiny) holds the stages, their logs and the exported model. Run it again to resume.
set -euo pipefail
cd "$(dirname "$0")/.."
export OUT="${OUT:-out/tiny}"
# A waiting thread soon gives its core to the data processes instead of spinning.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-5000}"
mkdir -p "$OUT"
began=$(date +%s)
qwen-audio train configs/tiny_warmstart_clean.yaml "$@"
qwen-audio train configs/tiny_warmstart.yaml "$@"
qwen-audio train configs/tiny_align.yaml "$@"
kind=_synthetic
if [ -n "${CORPUS:-}" ]; then
  export CORPUS
  kind=
fi
qwen-audio train "configs/tiny_multitask$kind.yaml" "$@"
qwen-audio train "configs/tiny_refine$kind.yaml" "$@"
[ -e "$OUT/model" ] || qwen-audio export "$OUT/refine" "$OUT/model"
echo "done in $(( ($(date +%s) - began) / 60 )) minutes: $OUT/model"
