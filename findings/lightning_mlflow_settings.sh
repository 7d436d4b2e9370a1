#!/usr/bin/env bash
# pytorch-lightning 2.6.6, mlflow-skinny 3.17.2
#
# MLFlowLogger(run_id=...) goes on with a run: "The run identifier of the experiment. If not provided,
# a new run is started." Expected: a training that is resumed for more epochs logs its settings into
# the run where it left off. What happens: the store refuses a parameter that has another value than
# before, log_hyperparams passes the refusal on, and the resumed training ends before its first step.
# And the logger as its docstring makes it, with the folder ./mlruns as the store, cannot log at all:
# this MLflow refuses folders.
# Cost: raising max_epochs is the usual reason to resume. Metrics of the first part are there, those
# of the second are nowhere.
#
# Seen:
#   max_epochs 10 again: logged
#   max_epochs 20: INVALID_PARAMETER_VALUE
#   default store: MlflowException
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(pytorch-lightning==2.6.6 torch==2.13.0 mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
cd "$d"
MLFLOW_DISABLE_TELEMETRY=true "$d/venv/bin/python" - <<'PY'
import logging
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.INFO)

from mlflow.exceptions import MlflowException
from pytorch_lightning.loggers import MLFlowLogger

seen = []


def outcome(settings, **where):
    try:
        logger = MLFlowLogger("person-reid", **where)
        logger.log_hyperparams(settings)
    except MlflowException as error:
        return None, error
    return logger.run_id, None


store = {"tracking_uri": "sqlite:///runs.db"}
run, error = outcome({"max_epochs": 10}, **store)
assert error is None, error
again = outcome({"max_epochs": 10}, **store, run_id=run)[1]
print("max_epochs 10 again:", again.error_code if again else "logged")
more = outcome({"max_epochs": 20}, **store, run_id=run)[1]
print("max_epochs 20:", more.error_code if more else "logged")
folder = outcome({"max_epochs": 10})[1]
print("default store:", type(folder).__name__ if folder else "logged")
if again is not None or more is None or more.error_code != "INVALID_PARAMETER_VALUE" or folder is None:
    sys.exit("the behaviour has changed")
PY
