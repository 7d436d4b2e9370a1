"""Names of an embedder's parameters in checkpoints of other repositories."""

from collections.abc import Collection, Iterator

_PREFIXES = (
    "module.",  # DataParallel and DDP
    "student.", "embedder.", "backbone.", "network.",  # this package
    "model.", "net.", "base.", "encoder.",
)  # fmt: skip


def own_name(key: str, own: Collection[str]) -> str | None:
    """Return the embedder's name, one of ``own``, for a key of a file; None if there is none.

    >>> own_name("model.base.conv1.weight", ["backbone.conv1.weight"])
    'backbone.conv1.weight'
    """
    for bare in _peeled(key):
        for candidate in (bare, f"backbone.{bare}", f"backbone.network.{bare}"):
            if candidate in own:
                return candidate
    return None


def part(key: str) -> str:
    """Return the part of a backbone that contains a key of a file or an embedder.

    >>> part("module.base.layer1.0.conv1.weight"), part("backbone.network.blocks.3.norm1.bias")
    ('layer1', 'blocks')
    """
    *_, bare = _peeled(key)
    return bare.split(".")[0]


def _peeled(key: str) -> Iterator[str]:
    """Yield ``key``, then ``key`` with one prefix of a wrapper removed, and so on."""
    yield key
    prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
    if prefix is not None:
        yield from _peeled(key.removeprefix(prefix))
