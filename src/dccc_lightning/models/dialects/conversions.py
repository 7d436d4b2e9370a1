"""Conversion of tensors where a family differs from this package in more than names."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]

_OPENAI = (
    ("conv1.", "patch_embed.proj."),
    ("positional_embedding", "pos_embed"),
    ("class_embedding", "cls_token"),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    (".ln_", ".norm"),
    (".in_proj_", ".qkv."),
    (".out_proj.", ".proj."),
    (".c_fc.", ".fc1."),
    (".c_proj.", ".fc2."),
)
"""Names of OpenAI's vision transformer, with timm's, in the order of their replacement."""

_PASS_TOKENS = ("part_token1", "part_token2", "part_token3")
_PASS_POSITIONS = ("cls_pos", "part1_pos", "part2_pos", "part3_pos", "pos_embed")
_SEMANTIC = torch.tensor([0.2, 0.8])
_NORM = ("weight", "bias", "running_mean", "running_var")


def from_openai(tensors: Mapping[str, Tensor]) -> Tensors:
    """Convert OpenAI's image encoder with its two necks, if any, to one neck of both.

    >>> sorted(from_openai({"class_embedding": torch.ones(4), "proj": torch.ones(4, 2)}))
    ['cls_token', 'projection.weight']
    """
    converted: Tensors = {}
    for name, value in tensors.items():
        if name == "proj" and value.dim() == 2:
            converted["projection.weight"] = value.T
            continue
        ours = name
        for theirs, timms in _OPENAI:
            ours = ours.replace(theirs, timms)
        converted[ours] = value
    for name, dims in (("cls_token", 1), ("pos_embed", 2)):
        if name in converted and converted[name].dim() == dims:
            converted[name] = converted[name].reshape(1, -1, converted[name].shape[-1])
    return _joined_necks(converted, ("neck.", "neck_proj."))


def from_jigsaw(tensors: Mapping[str, Tensor]) -> Tensors:
    """Join the five necks of TransReID's JPM; those of the groups see vectors divided by 4."""
    necks = [f"neck_{i}." for i in range(1, 5)]
    scaled = dict(tensors)
    for neck in necks:
        if not all(f"{neck}{value}" in scaled for value in _NORM):
            continue
        for value in ("weight", "bias", "running_mean"):
            scaled[f"{neck}{value}"] = scaled[f"{neck}{value}"] / 4
        eps = 1e-5
        scaled[f"{neck}running_var"] = (scaled[f"{neck}running_var"] + eps) / 16 - eps
    return _joined_necks(scaled, ("neck.", *necks))


def from_pass(tensors: Mapping[str, Tensor]) -> Tensors:
    """Join the part tokens of PASS, and the positions of all its tokens."""
    converted = dict(tensors)
    for prefix in ("backbone.", ""):
        for names, joined in ((_PASS_TOKENS, "reg_token"), (_PASS_POSITIONS, "pos_embed")):
            if all(f"{prefix}{name}" in converted for name in names):
                parts = [converted.pop(f"{prefix}{name}") for name in names]
                converted[f"{prefix}{joined}"] = torch.cat(parts, dim=1)
    return converted


def from_dino_v2(tensors: Mapping[str, Tensor]) -> Tensors:
    """Convert DINOv2's register tokens, which have no positions; the class token gets its own.

    >>> tokens = {"register_tokens": torch.ones(1, 4, 8), "cls_token": torch.ones(1, 1, 8)}
    >>> converted = from_dino_v2(tokens | {"pos_embed": torch.ones(1, 5, 8)})
    >>> sorted(converted), converted["pos_embed"].shape, converted["cls_token"].mean().item()
    (['cls_token', 'pos_embed', 'reg_token'], torch.Size([1, 4, 8]), 2.0)
    """
    converted = dict(tensors)
    for prefix in ("backbone.", ""):
        cls, positions = f"{prefix}cls_token", f"{prefix}pos_embed"
        if f"{prefix}register_tokens" in converted:
            converted[f"{prefix}reg_token"] = converted.pop(f"{prefix}register_tokens")
            if cls in converted and positions in converted:
                converted[cls] = converted[cls] + converted[positions][:, :1]
                converted[positions] = converted[positions][:, 1:]
    return converted


def from_dino_v3(tensors: Mapping[str, Tensor]) -> Tensors:
    """Convert the biases of DINOv3's queries, keys and values; zeros, as published, are left out.

    Those of the keys are masked.
    """
    converted: Tensors = {}
    for name, value in tensors.items():
        if not name.endswith(".qkv.bias"):
            converted[name] = value
            continue
        queries, _, values = value.chunk(3)
        if bool(queries.any()) or bool(values.any()):
            stem = name.removesuffix("qkv.bias")
            converted |= {f"{stem}q_bias": queries, f"{stem}v_bias": values}
    return converted


def from_solider(tensors: Mapping[str, Tensor]) -> Tensors:
    """Replace SOLIDER's semantic embeddings by scale and shift at the semantic weight 0.2.

    Without embeddings, as in files of networks that have none, they are 1 and 0.
    """
    converted = {k: v for k, v in tensors.items() if not k.startswith("semantic_embed_")}
    for stage in range(3):
        reduction = tensors.get(f"stages.{stage}.downsample.reduction.weight")
        if reduction is None:
            continue
        scale, shift = torch.ones(len(reduction)), torch.zeros(len(reduction))
        if f"semantic_embed_w.{stage}.weight" in tensors:
            weight, bias = (
                tensors[f"semantic_embed_{part}.{stage}.weight"].float() @ _SEMANTIC
                + tensors[f"semantic_embed_{part}.{stage}.bias"].float()
                for part in ("w", "b")
            )
            scale, shift = torch.nn.functional.softplus(weight), bias
        converted |= {f"scale{stage}": scale, f"shift{stage}": shift}
    return converted


def _joined_necks(tensors: Tensors, necks: tuple[str, ...]) -> Tensors:
    """Return the tensors with one neck in place of several, if all of them are there."""
    if not all(f"{neck}{value}" in tensors for neck in necks for value in _NORM):
        return tensors
    joined = {
        f"neck.{value}": torch.cat([tensors[f"{neck}{value}"] for neck in necks]) for value in _NORM
    }
    return {name: v for name, v in tensors.items() if not name.startswith(necks)} | joined


CONVERSIONS: Mapping[str, Callable[[Mapping[str, Tensor]], Tensors]] = {
    "clip": from_openai,
    "clip_reid": from_openai,
    "pcl_clip": from_openai,
    "transreid_jpm": from_jigsaw,
    "pass": from_pass,
    "dinov2_registers": from_dino_v2,
    "dinov3": from_dino_v3,
    "solider": from_solider,
    "solider_fine_tuned": from_solider,
    "pass_fine_tuned": from_pass,
    "pass_usl": from_pass,
}
"""Functions by the name of the family, applied after its ``renames``."""
