"""Bring the tensors of a file to this package's names, and find out which network they need."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.dialects.conversions import CONVERSIONS
from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.dialects.families import DIALECTS, FAMILIES, OTHER, SEVERAL, recognize
from dccc_lightning.models.dialects.several_networks import OWN_CHECKPOINT, OWN_WEIGHTS
from dccc_lightning.models.layout import Layout
from dccc_lightning.models.state_files import StateFile

_WRAPPERS = ("module.", "_orig_mod.", "_forward_module.")
"""Prefixes by torch's and Lightning's wrappers, which no network has itself."""

_ALMOST_ALL = 0.8
"""Share of the names that a module around a network has; the others are of losses."""

_MOST_MODULES = 3
"""Modules around a network, such as Lightning's ``model.``, that are looked into."""


@dataclass(frozen=True)
class Reading:
    """Tensors of one network of a file.

    Attributes:
        family: Name for messages.
        tensors: By this package's names as far as the family has others.
        originals: Names in the file, by the names in ``tensors``.
        layout: Options of the network.
        left_out: Parts of the file that the embedding does not use.
        note: Remark of the family for the log.
        strict: Refuse tensors that the network has no place for.
        backbones: Backbones that the file is for; empty for any.
        overlaps: The patches may overlap.
        is_own: This package wrote the file.
        image_size: Height and width of the images of the family, if they are always the same.
        of_backbone: Mean and std are those of the weights that the name of the backbone stands for.
        offset: Of the interpolation of position embeddings, see ``resize_positions``.
    """

    family: str
    tensors: Mapping[str, Tensor]
    originals: Mapping[str, str]
    layout: Layout
    left_out: tuple[str, ...]
    note: str
    strict: bool
    backbones: tuple[str, ...] = ()
    overlaps: bool = False
    is_own: bool = False
    image_size: tuple[int, int] | None = None
    of_backbone: bool = False
    offset: float = 0.0


def read_dialect(file: StateFile, dialect: str) -> Reading:
    """Recognise the family of a file and take its network.

    Args:
        file: Of any family.
        dialect: ``auto``, ``none`` for names and shapes alone, or a name of ``DIALECTS``.

    Raises:
        UserError: The family has trained parts that cannot be built here, or the description in
            the file cannot be used.
    """
    names = {_bare(name): name for name in file.tensors}
    several = recognize(names, SEVERAL)
    prefix = several.taken(names)
    others = {name.split(".")[0] for name in names if not name.startswith(prefix)}
    left = dict.fromkeys(sorted(others))
    taken: dict[str, str] = {}
    for name, original in names.items():
        bare = _bare(name.removeprefix(prefix))
        if name.startswith(prefix) and not (part := several.left(bare)):
            taken[bare] = original
        elif name.startswith(prefix):
            left[part] = None
    among = FAMILIES if dialect == "auto" else (DIALECTS.get(dialect, OTHER),)
    row, taken = _family(taken, among)
    if row is OTHER:
        row = several if dialect == "auto" else among[0]
    if refused := row.refused(taken):
        raise UserError(
            f"{row.title}: it has {', '.join(refused)}, which cannot be built here; {row.remedy}"
        )
    tensors, originals = {}, {}
    for name, original in taken.items():
        if part := row.left(name):
            left[part] = None
            continue
        ours = row.rename(name)
        tensors[ours], originals[ours] = file.tensors[original], original
    tensors = CONVERSIONS.get(row.name, dict)(tensors)
    return Reading(
        family=_title(several, prefix, row),
        tensors=tensors,
        originals={name: originals.get(name, name) for name in tensors},
        layout=_layout(file.layout) if file.layout and dialect != "none" else _asked(row, tensors),
        left_out=tuple(left),
        note=row.note,
        strict=dialect != "none",
        backbones=row.backbones,
        overlaps=row.overlaps and not file.layout,
        image_size=row.image_size,
        of_backbone=row.of_backbone,
        offset=row.offset,
        is_own=OWN_WEIGHTS is row or several is OWN_CHECKPOINT,
    )


def _family(names: Mapping[str, str], among: tuple[Dialect, ...]) -> tuple[Dialect, dict[str, str]]:
    """Return the family of a network, and its names without those of modules around it."""
    inner = dict(names)
    for _ in range(_MOST_MODULES + 1):
        if (row := recognize(inner, among)) is not OTHER:
            return row, inner
        module = _module_of_all(inner)
        peeled = {_bare(n.removeprefix(module)): original for n, original in inner.items()}
        if len(peeled) < len(inner):  # the same name inside the module and outside
            break
        inner = peeled
    return OTHER, dict(names)


def _module_of_all(names: Mapping[str, str]) -> str:
    """Return the module, with a point, that almost all names begin with; empty without one."""
    counts = Counter(name.split(".")[0] for name in names if "." in name)
    for module, count in counts.most_common(1):
        if count >= _ALMOST_ALL * len(names):
            return f"{module}."
    return ""


def _title(several: Dialect, prefix: str, row: Dialect) -> str:
    titles = [f"{several.title} ({prefix.removesuffix('.')})"] if prefix else []
    if row not in (OTHER, several) or not titles:
        titles.append(row.title)
    return ", ".join(titles)


def _asked(row: Dialect, tensors: Mapping[str, Tensor]) -> Layout:
    """Return the options of a family's network, which may differ for ResNeXts."""
    kernel = tensors.get("backbone.layer1.0.conv2.weight")
    is_grouped = kernel is not None and kernel.dim() == 4 and kernel.shape[1] < kernel.shape[0]
    return row.grouped_layout if is_grouped and row.grouped_layout else row.layout


def _layout(options: Mapping[str, object]) -> Layout:
    try:
        return Layout.of(options)
    except (ValueError, TypeError) as error:
        raise UserError(f"its description of the network cannot be used: {error}") from error


def _bare(name: str) -> str:
    while wrapper := next((w for w in _WRAPPERS if name.startswith(w)), ""):
        name = name.removeprefix(wrapper)
    return name
