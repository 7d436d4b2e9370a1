"""Search spaces of a study, parsed from Hydra's sweep syntax."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from dccc_lightning.errors import UserError

if TYPE_CHECKING:  # an extra
    from optuna.distributions import BaseDistribution


class SearchSpace(NamedTuple):
    """Fixed arguments and ranges of the trials."""

    fixed: tuple[str, ...]
    ranges: "dict[str, BaseDistribution]"

    def arguments(self, drawn: Mapping[str, Any]) -> list[str]:
        """Return the arguments of a trial."""
        return [*self.fixed, *(f"{key}={value}" for key, value in drawn.items())]

    def corner(self) -> list[str]:
        """Return the arguments at one end of every range, to test their composition."""
        from optuna.distributions import CategoricalDistribution  # noqa: PLC0415  an extra

        ranges: dict[str, Any] = dict(self.ranges)
        return self.arguments(
            {
                key: value.choices[0] if isinstance(value, CategoricalDistribution) else value.low
                for key, value in ranges.items()
            }
        )


def parse_space(parser: OverridesParser, arguments: Sequence[str]) -> SearchSpace:
    """Parse arguments into fixed ones and ranges; the last one of a key is used.

    ``a,b`` and ``choice(a,b)`` are choices; ``range(1,5)`` are integers without the end, as in
    Hydra; ``interval(0.5,0.8)`` are real numbers with both ends; ``tag(log,interval(...))`` uses a
    logarithmic scale.

    Raises:
        UserError: There is no range, or an interval is empty.
    """
    overrides = {o.get_key_element(): o for o in parser.parse_overrides(list(arguments))}
    fixed = [
        f"{key}={override.get_value_element_as_str()}"
        for key, override in overrides.items()
        if not override.is_sweep_override()
    ]
    ranges = {key: _range(key, o) for key, o in overrides.items() if o.is_sweep_override()}
    if not ranges:
        raise UserError("a search needs ranges, such as scheduler.start=interval(0.5,0.8)")
    return SearchSpace(tuple(fixed), ranges)


def _range(key: str, override: Override) -> "BaseDistribution":
    from optuna.distributions import (  # noqa: PLC0415  an extra
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    sweep: Any = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None
            assert sweep.end is not None
            return FloatDistribution(sweep.start, sweep.end, log="log" in sweep.tags)
        if isinstance(sweep, RangeSweep) and all(
            isinstance(end, int) for end in (sweep.start, sweep.stop, sweep.step)
        ):
            values = range(int(sweep.start or 0), int(sweep.stop or 0), int(sweep.step))
            if values.step > 0 and values:
                return IntDistribution(values[0], values[-1], step=values.step)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise UserError(f"{key}: {error}") from error
