"""Find the classifiers among the tensors of a file by their shapes."""

from collections.abc import Collection, Mapping

from torch import Tensor


def classifiers(rest: Mapping[str, Tensor], sizes: Collection[int]) -> set[str]:
    """Return the names in ``rest`` that belong to classifiers of embeddings.

    A classifier is a matrix of rows x D, with or without a bias, that no norm and no further layer
    follows. Anything else that was trained is part of the embedding.

    Args:
        rest: Tensors of a file that the network has no place for.
        sizes: Values of D: sizes of embeddings and of pooled features.

    >>> import torch
    >>> head = {"fc.weight": torch.zeros(751, 8), "fc.bias": torch.zeros(751)}
    >>> sorted(classifiers(head, {8}))
    ['fc.bias', 'fc.weight']
    >>> classifiers(head | {"bn.running_mean": torch.zeros(751)}, {8})
    set()
    """
    matrices = {name: value.shape for name, value in rest.items() if value.dim() == 2}
    norms = {
        len(value)
        for name, value in rest.items()
        if value.dim() == 1 and name.endswith(("running_mean", "weight"))
    }
    found = set()
    for name, (rows, columns) in matrices.items():
        followed = any(rows == shape[1] for other, shape in matrices.items() if other != name)
        if columns in sizes and rows not in norms and not followed:
            bias = f"{name.removesuffix('weight')}bias"
            found |= {name, *([bias] if bias in rest else [])}
    return found
