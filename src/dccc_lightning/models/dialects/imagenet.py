"""Classifiers of ImageNet by torchvision, timm and IBN-Net."""

from dccc_lightning.models.dialects.dialect import Dialect

RESNET_OF_IMAGENET = Dialect(
    "imagenet",
    "torchvision and timm",
    "pytorch/vision, huggingface/pytorch-image-models, XingangPan/IBN-Net d167338",
    "",
    marks=(r"conv1\.weight", r"layer4\.", r"fc\.(weight|bias)"),
    without=(r"fc\.1\.",),
    of_backbone=True,
)

MOBILE_OF_TORCHVISION = Dialect(
    "torchvision_mobile",
    "torchvision's mobile networks",
    "pytorch/vision",
    "",
    marks=(r"features\.0\.0\.weight", r"classifier\.\d\.weight"),
    leaves=((r"classifier\.\d\.", "classifier of ImageNet"),),
    of_backbone=True,
)
