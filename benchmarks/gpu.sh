#!/usr/bin/env bash
# The faithful recipe on a CUDA machine: benchmarks/gpu.sh OUT writes OUT.md and OUT.json, in at most 8 minutes.
# It takes the Python of $PYTHON if that has what restorekit needs, else it makes .venv (as make does) and takes that.
# Exit code 2 without a CUDA device, 3 if the set-up took most of the time (call again), else that of benchmarks/gpu.py.
set -euo pipefail

MINUTES=8
[ $# -ge 1 ] || { echo "usage: benchmarks/gpu.sh OUT [options of benchmarks/gpu.py]" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
refuse() { echo "gpu.sh: $1; run it on a machine with a CUDA device" >&2; exit 2; }

if "$python" -c "import restorekit.runs.build, restorekit.training.train" 2>/dev/null; then
    "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())" || refuse "torch of $python sees no CUDA device"
else
    nvidia-smi -L 2>/dev/null | grep -q GPU || refuse "nvidia-smi lists no GPU"
    make .venv/.installed >&2
    python=.venv/bin/python
    "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())" || refuse "torch of .venv sees no CUDA device"
fi

left=$((MINUTES * 60 - SECONDS))
[ "$left" -ge 180 ] || { echo "gpu.sh: the set-up took $SECONDS s and is done; call it again to measure" >&2; exit 3; }
exec timeout "$left" "$python" benchmarks/gpu.py "$out" --seconds $((left - 90)) "$@"
