#!/usr/bin/env bash
# Measure this package on a machine with a GPU, in at most eight minutes, into one JSON file.
#
#     bash benchmarks/gpu_check/run.sh [--output FOLDER] [--dry]
#
# Wheels in .whl (benchmarks/gpu_check/wheels.py puts them there) are installed into a temporary
# folder before. PYTHON names the interpreter, python3 by default. --dry: tiny sizes on the CPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if compgen -G ".whl/*.whl" > /dev/null; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$scratch/site" .whl/*.whl
fi
export PYTHONPATH="$PWD/src:$scratch/site${PYTHONPATH:+:$PYTHONPATH}" DCCC_CACHE="$scratch/cache"
"$python" benchmarks/gpu_check/check.py "$@"
