"""CLIP's image encoder by OpenAI's names: CLIP-ReID, PCL-CLIP without labels, and CLIP itself."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_CLIP = ("clip_vit_base",)
_RESNET = "CLIP's ResNet with attention pooling, which is not built here"

CLIP_REID = Dialect(
    "clip_reid",
    "CLIP-ReID",
    "Syliz517/CLIP-ReID eb1898b",
    "2023-11-21",
    marks=(r"image_encoder\.", r"(prompt_learner|text_encoder|classifier)"),
    renames=(("image_encoder.", ""), ("bottleneck.", "neck."), ("bottleneck_proj.", "neck_proj.")),
    layout=Layout(normalization="half", interpolation="bilinear", neck="before"),
    backbones=_CLIP,
    leaves=((r"(prompt_learner|text_encoder)\.", "prompts and text encoder"),),
    refuses=(
        (r"image_encoder\.(layer1|attnpool)\.", _RESNET),
        (r"cv_embed", "camera embeddings (SIE)"),
    ),
    overlaps=True,
)

PCL_CLIP = Dialect(
    "pcl_clip",
    "PCL-CLIP without labels",
    "Trangle12/PCL-CLIP-USL eaeb7b9",
    "2025-08-15",
    marks=(r"image_encoder\.",),
    renames=CLIP_REID.renames,
    backbones=_CLIP,
    refuses=CLIP_REID.refuses,
    overlaps=True,
)

OPENAI_CLIP = Dialect(
    "clip",
    "CLIP",
    "openai/CLIP",
    "",
    marks=(r"visual\.conv1\.", r"visual\.(proj|attnpool)"),
    renames=(("visual.", ""),),
    layout=Layout(normalization="clip"),
    image_size=(224, 224),
    backbones=_CLIP,
    leaves=((r"(?!visual\.)", "text encoder"),),
    refuses=((r"visual\.(layer1|attnpool)\.", _RESNET),),
    note="with OpenAI's QuickGELU; weights of open_clip without it need "
    "+model.layout.activation=gelu",
)
