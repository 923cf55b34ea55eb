#!/usr/bin/env bash
# Runs memcheck, racecheck and initcheck of NVIDIA's compute-sanitizer over one prefill and one decode step of bundles.
#
#   scripts/sanitize_gpu.sh BUNDLE[=CHECKPOINT]...      on a machine with an NVIDIA GPU and CUDA's tools
#
# CHECKPOINT: where the bundle's weights are, if not where it was compiled. PYTHON: the python that has hfc's packages.
# Exit code 1 if a tool reports an error. Compile the bundles anywhere:
#
#   hfc compile tests/data/models/qwen3_5_text --arch sm_90 --ctx 64 --slots 2 -o small.hfp
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1 || true)
[ -n "$sanitizer" ] || { echo "compute-sanitizer is not here: install CUDA's tools" >&2; exit 2; }
[ $# -gt 0 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

failed=0
for model in "$@"; do
  for tool in memcheck racecheck initcheck; do
    echo "== $tool: $model"
    PYTHONPATH=$root "$sanitizer" --tool "$tool" --error-exitcode 1 --print-limit 5 \
      "${PYTHON:-python3}" "$root/scripts/two_steps.py" "$model" || failed=1
  done
done
exit $failed
