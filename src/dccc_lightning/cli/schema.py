"""Check that settings have the type of their defaults: number, boolean, text or section.

Not a dataclass schema in Hydra's ConfigStore: that converts ``compile=1`` to True, says nothing of
the settings of groups, whose keys depend on the option, and closes the root to tasks and presets.
"""

from collections.abc import Mapping
from typing import Any, cast

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from dccc_lightning.common.turning_ranges import FLIPS
from dccc_lightning.config.compositions import composed
from dccc_lightning.errors import UserError

NULL = ("published",)
"""Sections that may be null as a whole."""

FREE = ("trainer", "logger", "callbacks")
"""Sections that are checked elsewhere, or whose entries may be removed."""

WORDS = {"rerank": ("ca_jaccard",), "augmentation.flip": tuple(FLIPS)}
"""Settings of true or false, or numbers, that also take a word."""


def check_types(
    config: DictConfig, choices: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> None:
    """Check the types of settings against the defaults of the chosen groups.

    This finds errors that constructors cannot, such as ``compile=no``, a non-empty string, or a
    number in place of a section. Where either value is null, nothing is checked.

    Args:
        config: Configuration composed by Hydra.
        choices: Options of the groups.
        own: Settings of a resumed run, which replace the defaults.

    Raises:
        UserError: A type differs; the message names the setting and the type.
    """
    if own is not None:
        compare(own, _plain(config))
        return
    named = {group: choice for group, choice in choices.items() if choice and group.isidentifier()}
    try:
        usual = composed(f"{group}={choice}" for group, choice in named.items())
    except HydraException:  # custom groups
        return
    compare(_plain(usual), _plain(config))


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return settings with unresolved interpolations, since invalid ones have no value."""
    return cast(dict[str, Any], OmegaConf.to_container(config))


def compare(usual: Mapping[str, Any], settings: Mapping[str, Any], place: str = "") -> None:
    """Compare sections recursively.

    Args:
        usual: Default settings.
        settings: Settings to check.
        place: Prefix of their names, with a dot at its end.

    Raises:
        UserError: A type differs; the message names the setting and the type.
    """
    for key, standard in usual.items():
        name = f"{place}{key}"
        if key not in settings:
            if not place:
                raise UserError(f"~{name}: cannot be removed")
            continue
        given = settings[key]
        if isinstance(standard, Mapping) and isinstance(given, Mapping):
            if name not in FREE:
                compare(standard, given, f"{name}.")
        elif isinstance(standard, Mapping):
            if given is not None or not (place or name in NULL):
                own = ", ".join(f"{name}.{part}" for part in standard if part != "_target_")
                raise UserError(f"{name}={shown(given)}: is a section; set {own}")
        elif (
            given is not None
            and given not in (words := WORDS.get(name, ()))
            and (wanted := mismatch(given, standard))
        ):
            either = f", or {' | '.join(words)}" if words else ""
            raise UserError(f"{name}={shown(given)}: must be {wanted}{either}")


def mismatch(given: Any, standard: Any) -> str:
    """Return the required type of a value; empty if it matches the default.

    >>> mismatch("no", False), mismatch("ten", 16), mismatch(1, 0.5), mismatch(2024, "runs")
    ('true or false', 'a number', '', '')
    """
    if isinstance(given, str) and given.startswith("${"):
        return ""  # an interpolation, checked at its target
    if isinstance(standard, bool):
        return "" if isinstance(given, bool) else "true or false"
    if isinstance(standard, (int, float)):  # the constructor distinguishes them
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        return "" if is_number else "a number"
    return ""


def shown(value: Any) -> str:
    """Return a value as text of the command line.

    >>> shown(True), shown(None), shown([256, 128])
    ('true', 'null', '[256,128]')
    """
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
