"""Results of ``task=calibrate`` as thresholds of other tasks."""

import json
from pathlib import Path
from typing import Any

from dccc_lightning.common import checks
from dccc_lightning.common.score_ranges import ABOVE_ALL
from dccc_lightning.errors import UserError


def calibration_of(key: str, value: str, fingerprint: str | None) -> dict[str, Any]:
    """Read a calibration.json, given by the setting ``key``.

    Args:
        key: Name of the setting, for messages.
        value: Path of the file.
        fingerprint: Network to which the threshold has to belong; None for any.

    Raises:
        UserError: The file is missing, is no calibration, or belongs to another network.
    """
    try:
        facts: dict[str, Any] = json.loads(Path(value).expanduser().read_text())
        facts["threshold"] = checks.real("threshold", facts["threshold"], -1, ABOVE_ALL)
        model = facts["fingerprint"]
    except OSError as error:
        raise UserError(
            f"{key}={value}: neither a number nor a calibration.json ({error.strerror})"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{key}={value}: not a calibration.json") from error
    if fingerprint is not None and model != fingerprint:
        raise UserError(
            f"{key}={value}: calibrated for the model {model}, not for {fingerprint}; "
            "calibrate this model with task=calibrate"
        )
    return facts
