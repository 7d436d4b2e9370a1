"""Options in which published networks of one architecture differ, checked without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dccc_lightning.common import checks

STEM_POOLS = ("padded", "ceil", "2x2")
NORMALIZATIONS = ("imagenet", "half")

_SAID = {
    ("stem_pool", "ceil"): "stem pooling 3 x 3 unpadded with ceil_mode",
    ("stem_pool", "2x2"): "stem pooling 2 x 2",
    ("stem_relu", False): "no ReLU in the stem",
    ("last_stride", 2): "last stride 2",
    ("normalization", "half"): "mean and std 0.5",
}


@dataclass(frozen=True)
class Layout:
    """Options of a network that its weights do not show.

    Attributes:
        stem_pool: Max pooling of a ResNet's stem, stride 2: ``padded`` (3 x 3, padding 1),
            ``ceil`` (3 x 3, no padding, ``ceil_mode``) or ``2x2``.
        stem_relu: Apply a ReLU after the first batch norm of a ResNet.
        last_stride: Stride of a ResNet's last stage, 1 or 2.
        normalization: Mean and std of the input: ``imagenet``, or ``half`` for 0.5 and 0.5.
    """

    stem_pool: str = "padded"
    stem_relu: bool = True
    last_stride: int = 1
    normalization: str = "imagenet"

    def __post_init__(self) -> None:
        checks.choice("layout.stem_pool", self.stem_pool, STEM_POOLS)
        if not isinstance(self.stem_relu, bool):
            raise ValueError(f"layout.stem_relu must be true or false, got {self.stem_relu!r}")
        checks.integer("layout.last_stride", self.last_stride, 1, 2)
        checks.choice("layout.normalization", self.normalization, NORMALIZATIONS)

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> "Layout":
        """Build from the options of a checkpoint; those left out have their defaults.

        Raises:
            ValueError: An unknown option or value.
        """
        given = dict(options or {})
        valid = [field.name for field in fields(cls)]
        for name in given:
            if name not in valid:
                raise ValueError(f"layout has no option {name!r}; valid: {', '.join(valid)}")
        return cls(**given)

    def options(self) -> dict[str, Any]:
        """Return the options that differ from the defaults.

        >>> Layout(stem_pool="ceil").options()
        {'stem_pool': 'ceil'}
        """
        default = asdict(Layout())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def changes_trunk(self) -> bool:
        """Return True if a ResNet is needed that differs from the published method's."""
        return bool(self.options().keys() - {"normalization"})

    def __str__(self) -> str:
        """List the options that differ from the defaults."""
        return ", ".join(_SAID[option] for option in self.options().items())


PUBLISHED = Layout()
"""Options of the network of the published method."""
