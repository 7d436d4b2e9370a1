"""Options in which published networks of one architecture differ, checked without torch."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dccc_lightning.common import checks

STEM_POOLS = ("padded", "ceil", "2x2")
NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and std by channel of images in [0, 1], by name."""

COLOURS = ("rgb", "bgr")
INTERPOLATIONS = ("bicubic", "bilinear")
EMBEDDINGS = ("linear", "unbiased", "fc")
NECKS = ("after", "before")
ACTIVATIONS = ("quick_gelu", "gelu")

OF_RESNETS = ("stem_pool", "stem_relu", "last_stride", "non_local")
"""Options of the ResNets of this package."""

OF_MAPS = ("last_stride",)
"""Options of networks of timm that end in a map."""

OF_TRANSFORMERS = ("patch_stride", "heads")
"""Options of the vision transformers of this package that cut patches out of the images."""

OF_CLIP = (*OF_TRANSFORMERS, "activation")
"""Options of CLIP's image encoder."""

_BESIDE_TRUNK = ("normalization", "colour", "interpolation", "embedding", "neck")

_SAID = {
    ("stem_pool", "ceil"): "stem pooling 3 x 3 unpadded with ceil_mode",
    ("stem_pool", "2x2"): "stem pooling 2 x 2",
    ("stem_relu", False): "no ReLU in the stem",
    ("last_stride", 2): "last stride 2",
    ("normalization", "half"): "mean and std 0.5",
    ("embedding", "unbiased"): "an embedding layer without bias",
    ("embedding", "fc"): "an embedding layer with batch norm and ReLU",
    ("normalization", "clip"): "mean and std of CLIP",
    ("normalization", "none"): "no normalisation",
    ("colour", "bgr"): "colours as BGR",
    ("interpolation", "bilinear"): "bilinear resizing",
    ("neck", "before"): "embeddings before the neck",
    ("activation", "gelu"): "the exact GELU",
}


@dataclass(frozen=True)
class Layout:
    """Options of a network that its weights do not show.

    Attributes:
        stem_pool: Max pooling of a ResNet's stem, stride 2: ``padded`` (3 x 3, padding 1),
            ``ceil`` (3 x 3, no padding, ``ceil_mode``) or ``2x2``.
        stem_relu: Apply a ReLU after the first batch norm of a ResNet.
        last_stride: Stride of a ResNet's last stage, 1 or 2.
        normalization: Mean and std of the input, a name of ``NORMALIZATIONS``, by channel in
            the order of ``colour``.
        colour: Order of the channels of the input, ``rgb`` or ``bgr``.
        interpolation: Filter of Pillow that resizes images, ``bicubic`` or ``bilinear``.
        embedding: Kind of the embedding layer, if there is one: ``linear``, ``unbiased``, or ``fc``
            with batch norm and ReLU behind it.
        neck: Take embeddings ``after`` the neck, or ``before`` it.
        patch_stride: Distance in pixels between the patches of a transformer, at most their side
            of 16; below it, patches overlap.
        activation: Activation of CLIP's image encoder: OpenAI's ``quick_gelu``, or ``gelu``.
        heads: Number of attention heads of a transformer; 0 for that of its name.
        non_local: Number of non-local blocks in each of a ResNet's stages, behind its last blocks.
    """

    stem_pool: str = "padded"
    stem_relu: bool = True
    last_stride: int = 1
    normalization: str = "imagenet"
    colour: str = "rgb"
    interpolation: str = "bicubic"
    embedding: str = "linear"
    neck: str = "after"
    patch_stride: int = 16
    activation: str = "quick_gelu"
    heads: int = 0
    non_local: tuple[int, ...] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        checks.choice("layout.stem_pool", self.stem_pool, STEM_POOLS)
        if not isinstance(self.stem_relu, bool):
            raise ValueError(f"layout.stem_relu must be true or false, got {self.stem_relu!r}")
        checks.integer("layout.last_stride", self.last_stride, 1, 2)
        checks.choice("layout.normalization", self.normalization, tuple(NORMALIZATIONS))
        checks.choice("layout.colour", self.colour, COLOURS)
        checks.choice("layout.interpolation", self.interpolation, INTERPOLATIONS)
        checks.choice("layout.embedding", self.embedding, EMBEDDINGS)
        checks.choice("layout.neck", self.neck, NECKS)
        checks.integer("layout.patch_stride", self.patch_stride, 1, 16)
        checks.choice("layout.activation", self.activation, ACTIVATIONS)
        checks.integer("layout.heads", self.heads, 0)
        if not isinstance(self.non_local, tuple | list) or len(self.non_local) != 4:
            raise ValueError(f"layout.non_local must be four numbers, got {self.non_local!r}")
        counts = tuple(checks.integer("layout.non_local", n, 0) for n in self.non_local)
        object.__setattr__(self, "non_local", counts)

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
        changed = {name: value for name, value in asdict(self).items() if value != default[name]}
        if "non_local" in changed:
            changed["non_local"] = list(changed["non_local"])
        return changed

    def unsupported(self, supported: Collection[str]) -> "Layout":
        """Return the options that a network with the options ``supported`` does not have.

        >>> Layout(last_stride=2, neck="before").unsupported(()).options()
        {'last_stride': 2}
        """
        known = (*supported, *_BESIDE_TRUNK)
        return Layout(**{k: v for k, v in self.options().items() if k not in known})

    def __str__(self) -> str:
        """List the options that differ from the defaults."""
        counted = ("non_local", "patch_stride", "heads")
        said = [_SAID[option] for option in self.options().items() if option[0] not in counted]
        if self.patch_stride != PUBLISHED.patch_stride:
            said.append(f"patches at a distance of {self.patch_stride}")
        if self.heads:
            said.append(f"{self.heads} attention heads")
        if any(self.non_local):
            stages = " + ".join(str(count) for count in self.non_local)
            said.append(f"{stages} non-local blocks")
        return ", ".join(said)


PUBLISHED = Layout()
"""Options of the network of the published method."""
