#!/usr/bin/env bash
# torch 2.13.0 (CUDA 13) in one environment with faiss-gpu 1.15.1 (CUDA 12)
#
# faiss-gpu is installed only, nothing imports it. Expected: import torch loads torch's libraries of
# CUDA 13. What happens: on Linux torch first loads libraries of NVIDIA's packages by names with a
# star for the version, and looks in the folders of CUDA 12 before that of CUDA 13: cuBLAS, cudart
# and NVRTC are in memory in both versions, also where there is no GPU, and cuRAND, whose file has
# one name in both, is that of CUDA 12. Without the packages that faiss-gpu brought this is not so.
# Cost: 200 MB in every process that imports torch, and a cuRAND that torch was not built with.
#
# Seen:
#   beside CUDA 12: cublas 2, cublasLt 2, cudart 2, nvrtc 2; cuRAND in nvidia/curand; 791 MB
#   without: cublas 1, cublasLt 1, cudart 1, nvrtc 1; cuRAND in nvidia/cu13; 580 MB
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(torch==2.13.0 faiss-gpu==1.15.1)
cuda12=(nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12 nvidia-curand-cu12)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
  remove() { uv pip uninstall -q -p "$d/venv/bin/python" "$@"; }
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
  remove() { "$d/venv/bin/pip" uninstall -qy "$@"; }
fi
cat >"$d/look.py" <<'PY'
import re
import sys
from pathlib import Path

import torch

label, versions, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
assert torch.version.cuda == "13.0", f"changed: torch is for CUDA {torch.version.cuda}"
maps = Path("/proc/self/maps").read_text().splitlines()
loaded = {Path(line.split()[-1]) for line in maps if "/nvidia/" in line}
found = {
    name: sum(file.name.startswith(f"lib{name}.so") for file in loaded)
    for name in ("cublas", "cublasLt", "cudart", "nvrtc")
}
(curand,) = {file.parts[-3] for file in loaded if file.name.startswith("libcurand.so")}
memory = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
counts = ", ".join(f"{name} {count}" for name, count in found.items())
print(f"{label}: {counts}; cuRAND in nvidia/{curand}; {int(memory[1]) // 1024} MB")
sys.exit(set(found.values()) != {versions} or curand != folder)
PY
look() { "$d/venv/bin/python" "$d/look.py" "$@"; }
look "beside CUDA 12" 2 curand && remove "${cuda12[@]}" && look without 1 cu13 ||
  { echo "changed: other libraries are loaded"; exit 1; }
