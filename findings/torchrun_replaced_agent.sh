#!/usr/bin/env bash
# torch 2.13.0, torchrun with --rdzv-backend=c10d
#
# Two agents of torchrun, one on each of two nodes. One node is lost, and its agent is started again
# by the same command. Expected, for this is what --max-restarts is for: the new agent joins the one
# that is left, and both start their processes again. What happens: both wait for 60 seconds and end
# with an error. The agent that is left has shared its store with its processes since the first
# round and publishes the address only then; the new one waits for the address of its own round.
# TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 publishes it in every round.
# Cost: a training on several nodes ends when one of them is replaced, which torchrun was to survive.
#
# Seen:
#   store shared, the default: exit codes 1 and 1
#   store not shared: exit codes 0 and 0
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(torch==2.13.0 numpy)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
cat >"$d/work.py" <<'PY'
import ctypes
import signal
import sys
import time
from pathlib import Path

ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with its agent, as on a node that is lost
Path(sys.argv[1], sys.argv[2] + ".begun").touch()
while not Path(sys.argv[1], "lost").exists():  # processes of both agents run at first
    time.sleep(0.1)
if sys.argv[2] == "left" and not Path(sys.argv[1], "failed").exists():
    Path(sys.argv[1], "failed").touch()
    sys.exit("lost its peer")
PY
cd "$d"
port=$("$d/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

agent() {  # agent FOLDER NAME HOLDS_THE_STORE
  exec "$d/venv/bin/python" -m torch.distributed.run --nnodes=2 --nproc-per-node=1 --max-restarts=1 \
    --rdzv-backend=c10d --rdzv-endpoint="127.0.0.1:$port" --rdzv-id="$1" --rdzv-conf="is_host=$3" \
    work.py "$1" "$2" >"$1/$2.log" 2>&1
}

until_there() { for _ in $(seq 1200); do [ -e "$1" ] && return; sleep 0.1; done; exit 1; }

codes() {  # codes FOLDER NOT_SHARED: exit codes of the agent that is left and of the new one
  local left lost new one=0 other=0
  mkdir "$1"; export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=$2
  agent "$1" left 1 & left=$!
  agent "$1" lost 0 & lost=$!
  until_there "$1/left.begun"; until_there "$1/lost.begun"
  { kill -KILL $lost; wait $lost; } 2>/dev/null || true
  touch "$1/lost"
  until_there "$1/failed"
  agent "$1" new 0 & new=$!
  wait $left || one=$?
  wait $new || other=$?
  echo "$one and $other"
}

shared=$(codes shared 0)
echo "store shared, the default: exit codes $shared"
apart=$(codes apart 1)
echo "store not shared: exit codes $apart"
[ "$shared, $apart" = "1 and 1, 0 and 0" ] || { echo "the behaviour has changed"; exit 1; }
