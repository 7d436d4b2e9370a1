"""Layer between pooling and neck that changes the size of the embeddings."""

from torch import nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm


def build_embedding_layer(inputs: int, outputs: int, kind: str, group_size: int) -> nn.Sequential:
    """Build an embedding layer with random weights.

    Args:
        inputs: Size of the pooled features.
        outputs: Size of the embeddings.
        kind: ``linear``; ``unbiased``, the same without a bias; or ``fc``, with batch norm and
            ReLU behind it.
        group_size: Number of images of the global batch that share batch-norm statistics.
    """
    linear = nn.Linear(inputs, outputs, bias=kind != "unbiased")
    nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    if kind != "fc":
        return nn.Sequential(linear)
    return nn.Sequential(linear, GroupedBatchNorm(outputs, group_size), nn.ReLU(inplace=True))
