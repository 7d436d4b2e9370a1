#!/usr/bin/env bash
# hydra-core 1.3.8 and omegaconf 2.3.1, identities and names of runs on the command line
#
# Track names are often "identity_camera": 1_23 and 12_3. Expected: text, since only digits make a
# number. What happens: an underscore between digits is a thousands separator, in Hydra's overrides
# and in OmegaConf's YAML: 1_23, 12_3 and 123 are the one number 123, and output=2024_11_29 writes
# to the folder 20241129. Zeros in front part the two: the command line keeps 0010 as text, a YAML
# file reads it as octal, so person 0010 becomes person 8, beside '0008', which stays text.
# Cost: a list of people to leave out names others than it was written for.
#
# Seen:
#   command line [1_23, 12_3, 123]: [123, 123, 123]
#   command line 2024_11_29: 20241129
#   command line [0007, 0008, 0010]: ['0007', '0008', '0010']
#   YAML [0007, 0008, 0010, 1_23]: [7, '0008', 8, 123]
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(hydra-core==1.3.8 omegaconf==2.3.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


def override(text):
    return OverridesParser.create().parse_override(f"value={text}").value()


lists = override("[1_23, 12_3, 123]"), override("2024_11_29"), override("[0007, 0008, 0010]")
lists = ([int(x) for x in lists[0]], lists[1], [str(x) for x in lists[2]])
yaml = OmegaConf.to_container(OmegaConf.create("value: [0007, 0008, 0010, 1_23]"))["value"]
print("command line [1_23, 12_3, 123]:", lists[0])
print("command line 2024_11_29:", lists[1])
print("command line [0007, 0008, 0010]:", lists[2])
print("YAML [0007, 0008, 0010, 1_23]:", yaml)

seen = (*lists, yaml)
expected = ([123, 123, 123], 20241129, ["0007", "0008", "0010"], [7, "0008", 8, 123])
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
