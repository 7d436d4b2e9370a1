#!/usr/bin/env bash
# label-studio-sdk 2.1.2, LabelInterface
#
# A task in the documented import format, with a prediction that its labelling configuration allows,
# is validated. Expected: True. What happens: validate_task calls the check of predictions without
# the prediction, so any task that has one ends in a TypeError; the check of the prediction alone
# says True.
# Cost: whoever checks a file with proposed identities before the upload finds a fault where there
# is none, and leaves the check out.
#
# Seen:
#   the prediction alone: True
#   the task without it: True
#   the task with it: TypeError
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(label-studio-sdk==2.1.2)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - <<'PY'
import sys

from label_studio_sdk.label_interface import LabelInterface

interface = LabelInterface("""<View><Image name="image" value="$image"/>
<Choices name="identity" toName="image"><Choice value="12"/><Choice value="13"/></Choices></View>""")
prediction = {
    "model_version": "first", "score": 0.5,
    "result": [{"from_name": "identity", "to_name": "image", "type": "choices",
                "value": {"choices": ["12"]}}],
}
task = {"data": {"image": "crop.jpg"}}


def outcome(check, value):
    try:
        return str(check(value))
    except TypeError as error:
        return type(error).__name__


seen = {
    "the prediction alone": outcome(interface.validate_prediction, prediction),
    "the task without it": outcome(interface.validate_task, task),
    "the task with it": outcome(interface.validate_task, task | {"predictions": [prediction]}),
}
for name, value in seen.items():
    print(f"{name}: {value}")
if list(seen.values()) != ["True", "True", "TypeError"]:
    sys.exit("the behaviour has changed")
PY
