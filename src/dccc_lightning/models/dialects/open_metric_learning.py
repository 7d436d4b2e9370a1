"""open-metric-learning: extractors under ``model.``, saved by Lightning under ``model.model.``."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_SOURCE = ("OML-Team/open-metric-learning 6be182e", "2025-11-27")
_MODEL = r"(model\.)+"

OML_RESNET = Dialect(
    "oml_resnet",
    "ResNet of open-metric-learning",
    *_SOURCE,
    marks=(rf"{_MODEL}conv1\.weight", rf"{_MODEL}layer4\."),
    without=(rf"{_MODEL}(classifier|bottleneck)\.",),
    layout=Layout(last_stride=2),
    leaves=(
        (rf"{_MODEL}fc\.(weight|bias)$", "fc, which embeds with remove_fc=false only"),
        (r"criterion\.", "criterion"),
    ),
    refuses=((rf"{_MODEL}fc\.\d", "layers behind the pooling"),),
    note="GeM of a fixed power is not in the file: model.pooling=gem",
)

OML_MLP = Dialect(
    "oml_mlp",
    "open-metric-learning with an MLP",
    *_SOURCE,
    marks=(rf"({_MODEL})?extractor\.", rf"({_MODEL})?(projection|head)\.\d+\.weight"),
    refuses=((rf"({_MODEL})?(projection|head)\.", "an MLP behind the extractor"),),
)

OML_UNICOM = Dialect(
    "oml_unicom",
    "UNICOM, by open-metric-learning",
    *_SOURCE,
    marks=(rf"({_MODEL})?feature\.0\.weight", rf"({_MODEL})?blocks\.0\."),
    refuses=((rf"({_MODEL})?feature\.", "layers over all tokens instead of a class token"),),
)

OML_CLIP = Dialect(
    "oml_clip",
    "CLIP's image encoder without text, as open-metric-learning saves it",
    *_SOURCE,
    marks=(rf"({_MODEL})?visual\.conv1\.", rf"({_MODEL})?visual\.proj"),
    without=(rf"({_MODEL})?(transformer|token_embedding|logit_scale)",),  # OpenAI's has the text
    refuses=((rf"({_MODEL})?visual\.proj", "embeddings of its projection alone"),),
    remedy="choose another file, or model.dialect=clip, which embeds by token and projection",
)
