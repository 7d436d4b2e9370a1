"""Whether settings are of the kind that they are in ``conf/``: a number, a switch, a section."""

from collections.abc import Mapping
from typing import Any, cast

from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from dccc_lightning.errors import UserError

NULL = ("published",)
"""Sections that may be null as a whole."""

FREE = ("trainer", "logger", "callbacks")
"""Sections that others check, or in which a part may be left out."""


def check_kinds(
    config: DictConfig, choices: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> None:
    """Compare settings with those that the same choices of groups give by themselves.

    A constructor sees values alone: that ``compile=no`` is a word, and so true, or that a number
    stands where a section was, shows here. What is null in either may be anything.

    Args:
        config: As composed from a command line, while Hydra runs.
        choices: Of groups.
        own: Those of a run that goes on, which are compared with in their place.

    Raises:
        UserError: One line that names the setting and what it has to be.
    """
    if own is not None:
        compare(own, _plain(config))
        return
    named = {group: choice for group, choice in choices.items() if choice and group.isidentifier()}
    try:
        usual = compose("train", [f"{group}={choice}" for group, choice in named.items()])
    except HydraException:  # groups of somebody's own, which this cannot put together
        return
    compare(_plain(usual), _plain(config))


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return settings with their references unresolved: what refers to a wrong one has no value."""
    return cast(dict[str, Any], OmegaConf.to_container(config))


def compare(usual: Mapping[str, Any], settings: Mapping[str, Any], place: str = "") -> None:
    """Compare sections, and what is in them.

    Args:
        usual: What nobody has changed.
        settings: What somebody may have.
        place: Of both, with a dot at its end.

    Raises:
        UserError: One line that names the setting and what it has to be.
    """
    for key, standard in usual.items():
        name = f"{place}{key}"
        if key not in settings:
            if not place:
                raise UserError(f"~{name}: cannot be left out")
            continue
        given = settings[key]
        if isinstance(standard, Mapping) and isinstance(given, Mapping):
            if name not in FREE:
                compare(standard, given, f"{name}.")
        elif isinstance(standard, Mapping):
            if given is not None or not (place or name in NULL):
                own = ", ".join(f"{name}.{part}" for part in standard if part != "_target_")
                raise UserError(f"{name}={shown(given)}: has settings of its own: {own}")
        elif given is not None and (wanted := mismatch(given, standard)):
            raise UserError(f"{name}={shown(given)}: must be {wanted}")


def mismatch(given: Any, standard: Any) -> str:
    """Return what a value has to be, where it is something else than the usual one.

    >>> mismatch("no", False), mismatch("ten", 16), mismatch(1, 0.5), mismatch(2024, "runs")
    ('true or false', 'a number', '', '')
    """
    if isinstance(given, str) and given.startswith("${"):
        return ""  # what it refers to is looked at where it stands
    if isinstance(standard, bool):
        return "" if isinstance(given, bool) else "true or false"
    if isinstance(standard, (int, float)):  # which of them, the constructor knows
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        return "" if is_number else "a number"
    return ""


def shown(value: Any) -> str:
    """Return a value as it is typed.

    >>> shown(True), shown(None), shown([256, 128])
    ('true', 'null', '[256,128]')
    """
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
