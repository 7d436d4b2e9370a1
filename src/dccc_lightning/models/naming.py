"""Names of an embedder's parameters in checkpoints of other repositories."""

from collections.abc import Collection, Iterator

_PREFIXES = (
    "module.",  # DataParallel and DDP
    "student.", "embedder.", "backbone.", "network.",  # this package
    "model.", "net.", "base.", "encoder.",
    "encoder_q.",  # MoCo's query encoder; its key encoder is ignored
)  # fmt: skip

_RENAMED = {
    # SpCL and Cluster Contrast wrap a ResNet in a Sequential: convolution, norm, ReLU, pooling, ...
    "base.0.": "backbone.conv1.",
    "base.1.": "backbone.bn1.",
    **{f"base.{stage + 3}.": f"backbone.layer{stage}." for stage in (1, 2, 3, 4)},
    "feat_bn.": "neck.",
    "gap.p": "pooling.p",
    "bottleneck.": "neck.",  # TransReID, and the strong baseline before it
}

_NOT_THE_NETWORK = (
    "fc.", "classifier", "head.", "heads.",  # classifiers and projections
    "teacher.", "memory.", "loss_sums",  # the rest of a checkpoint of this package
    "encoder_k.", "queue",  # the rest of MoCo
)  # fmt: skip


def own_name(key: str, own: Collection[str]) -> str | None:
    """Return the embedder's name, one of ``own``, for a key of a file; None if there is none.

    >>> own_name("module.base.4.0.conv1.weight", ["backbone.layer1.0.conv1.weight"])
    'backbone.layer1.0.conv1.weight'
    >>> own_name("conv1.weight", ["backbone.conv1.weight"])
    'backbone.conv1.weight'
    """
    for bare in _peeled(key):
        for candidate in (bare, f"backbone.{bare}", f"backbone.network.{bare}", _renamed(bare)):
            if candidate in own:
                return candidate
    return None


def is_expected(key: str) -> bool:
    """Return True if a key without equivalent in the embedder is expected in a file."""
    return any(bare.startswith(_NOT_THE_NETWORK) for bare in _peeled(key))


def part(key: str) -> str:
    """Return the part of a backbone that contains a key of a file or an embedder.

    >>> part("module.base.4.0.conv1.weight"), part("backbone.network.blocks.3.norm1.bias")
    ('layer1', 'blocks')
    """
    for bare in _peeled(key):
        renamed = _renamed(bare)
        if renamed != bare:
            return renamed.removeprefix("backbone.").split(".")[0]
    return bare.split(".")[0]


def _peeled(key: str) -> Iterator[str]:
    """Yield ``key``, then ``key`` with one prefix of a wrapper removed, and so on."""
    yield key
    prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
    if prefix is not None:
        yield from _peeled(key.removeprefix(prefix))


def _renamed(key: str) -> str:
    theirs = next((name for name in _RENAMED if key.startswith(name)), None)
    return key if theirs is None else _RENAMED[theirs] + key.removeprefix(theirs)
