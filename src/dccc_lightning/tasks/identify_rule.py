"""Threshold of ``task=identify``: where it comes from and its meaning."""

from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from dccc_lightning.common import checks, score_ranges
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.turning_ranges import ALIGNED
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.errors import UserError
from dccc_lightning.inference.checkpoint_files import find_checkpoint
from dccc_lightning.reports.metrics_table import read_rows
from dccc_lightning.tasks.calibrated import calibration_of

AUTO, RUN = "auto", "run"

SHARED = 0.3
"""Label-free rule: images of one individual have on average at least this share of their
neighbourhoods in common; ``1 - SHARED`` is a Jaccard distance."""


_DEFAULTS = {"threshold": AUTO, "k1": None, "k2": None, "camera": None, "cut_tracklets": True}

LEAST = {"k1": 6, "k2": 2}
"""Smallest default sizes of neighbourhoods of tracklets."""


class Rule(NamedTuple):
    """Threshold of an identification with its origin.

    Attributes:
        arguments: Arguments of ``Identifier``, the threshold among them.
        origin: Where the threshold comes from.
        calibration: Content of calibration.json; None without a calibration.
        unit: Members of neighbourhoods, ``images`` or ``tracklets``.
    """

    arguments: dict[str, Any]
    origin: str
    calibration: dict[str, Any] | None = None
    unit: str = "images"

    def for_tracklets(self, settings: Settings, tracklets: int, images: int) -> "Rule":
        """Return the rule for neighbourhoods of tracklets: default sizes shrink in proportion."""
        own = dict(self.arguments)
        for name, least in LEAST.items():
            if settings[name] is None:
                own[name] = max(min(own[name], least), round(own[name] * tracklets / images))
        if settings["k2"] is None:
            own["k2"] = min(own["k2"], own["k1"])
        return self._replace(arguments=own, unit="tracklets")

    def described(self, pairs: int) -> dict[str, Any]:
        """Return the threshold with its meaning, for identities.json.

        Args:
            pairs: Number of pairs of images of different cameras.
        """
        facts = {**self.arguments, "origin": self.origin}
        if self.calibration is None:
            return facts | {"neighbors": self.unit}
        rate = self.calibration["false_match"]["value"]
        return facts | {"false_match_rate": rate, "expected_false_matches": rate * pairs}

    def sentence(self, pairs: int) -> str:
        """Return the threshold with its meaning, in words."""
        threshold = self.arguments["threshold"]
        if self.calibration is None:
            return (
                f"threshold: mean Jaccard distance {threshold:.4g} ({self.origin}): {self.unit} "
                f"of one identity share at least {1 - threshold:.2g} of their neighbourhoods on "
                "average; task=calibrate gives one with a known rate of false matches"
            )
        rates = self.calibration["false_match"]
        return (
            f"threshold: mean cosine {threshold:.4f} ({self.origin}): at most "
            f"{rates['value'] * pairs:,.0f} false merges are expected among the {pairs:,} pairs of "
            f"images of different cameras ({100 * rates['value']:.3g} % "
            f"[{100 * rates['low']:.3g}, {100 * rates['high']:.3g}] of pairs of different people "
            "match); fewer among groups, all of whose pairs count"
        )


def rule_of(settings: Settings, fingerprint: str | None = None) -> Rule:
    """Read the rule in the settings.

    Args:
        settings: Composed configuration.
        fingerprint: Network of the embeddings; None if it is not known yet.

    Raises:
        UserError: A value is invalid, or a file does not exist.
    """
    value = settings["threshold"]
    own: dict[str, Any] = {"k1": 20, "k2": 6, "camera": "none"}
    calibration, origin = None, "given"
    if value == AUTO:
        value, origin = round(1 - SHARED, 9), "label-free rule"
    elif value == RUN:
        folder = _run_folder(settings)
        value, own = _last_eps(folder), own | _clustering(folder)
        origin = f"last eps of {folder.name}"
    elif isinstance(value, str):
        calibration = calibration_of("threshold", value, fingerprint)
        value, origin = calibration["threshold"], "calibrated"
        _check_rates(calibration, settings["threshold"])
        if str(calibration["fingerprint"]).endswith(ALIGNED):
            raise UserError(f"threshold={settings['threshold']}: {score_ranges.ONE_COSINE}")
    own |= {name: settings[name] for name in own if settings[name] is not None}
    distance = "jaccard" if calibration is None else "cosine"
    backend = settings["clustering"].get("backend", "auto")
    if settings["k2"] is None and type(own["k1"]) is int:
        own["k2"] = min(own["k2"], max(own["k1"], 1))
    arguments = {"threshold": value, "distance": distance, **own, "backend": backend}
    checked("settings", lambda: score_ranges.identifier(**arguments), arguments)
    return Rule(arguments, origin, calibration)


def chosen(settings: Settings) -> dict[str, str]:
    """Return the settings that change identities and are not the defaults, as ``KEY=VALUE`` by key.

    >>> chosen({"threshold": "auto", "k1": 5, "k2": None, "camera": None, "cut_tracklets": False})
    {'k1': 'k1=5', 'cut_tracklets': 'cut_tracklets=false'}
    """
    given = {name: settings.get(name, default) for name, default in _DEFAULTS.items()}
    return {
        name: path_argument(name, value) if isinstance(value, str) else f"{name}={dumps(value)}"
        for name, value in given.items()
        if value != _DEFAULTS[name]
    }


def left_out(settings: Settings, folder: Path | None) -> list[str]:
    """Return the settings of an earlier output of ``task=identify`` that are the defaults now."""
    try:
        before = yaml.safe_load(((folder or Path()) / "config.yaml").read_text())
        own = chosen(before)
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return []
    now = chosen(settings)
    return [argument for name, argument in own.items() if name not in now]


def check_cameras_known(rule: Rule, cameras: NDArray[np.int64]) -> None:
    """Check that cameras (N,) are known if the rule removes them.

    Raises:
        UserError: None is known.
    """
    camera = rule.arguments["camera"]
    if camera != "none" and len(cameras) and (cameras < 0).all():
        raise UserError(
            f"camera={camera}: no camera of these images is known; give them by pattern= or a "
            "column camera in table=, or choose camera=none"
        )


def _check_rates(calibration: dict[str, Any], value: str) -> None:
    try:
        for name in ("value", "low", "high"):
            checks.real(name, calibration["false_match"][name], 0, 1)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"threshold={value}: not a calibration.json") from error


def _run_folder(settings: Settings) -> Path:
    """Return the run folder of ``ckpt``."""
    ckpt = settings["ckpt"]
    if ckpt is None or ckpt == "bundled":
        raise UserError(f"threshold=run: needs the folder of a run as ckpt=, got ckpt={ckpt}")
    path = Path(str(ckpt)).expanduser()
    folder = path if path.is_dir() else find_checkpoint(path).absolute().parent.parent
    return folder.absolute()


def _last_eps(folder: Path) -> float:
    try:
        found = [
            row["cluster/eps"] for row in read_rows(folder / "metrics.csv") if "cluster/eps" in row
        ]
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / 'metrics.csv'}: cannot be read ({error})") from error
    if not found:
        raise UserError(f"threshold=run: no eps in {folder / 'metrics.csv'}; choose threshold=auto")
    return min(found[-1], score_ranges.LARGEST_MEAN)


def _clustering(folder: Path) -> dict[str, Any]:
    """Return k1 and k2 of a run, and ``center`` as camera if it removed cameras from embeddings.

    eps as a mean is too strict for whitened embeddings, which are farther from each other.
    """
    try:
        own = yaml.safe_load((folder / "config.yaml").read_text())["clustering"]
        found = {name: own[name] for name in ("k1", "k2", "camera") if name in own}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{folder / 'config.yaml'}: cannot be read as the settings of a run; choose "
            "threshold=auto"
        ) from error
    removes = found.get("camera", "none") in ("center", "whiten", "proxies")
    found["camera"] = "center" if removes else "none"
    return found
