"""Evaluation of trained networks by retrieval on a dataset."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dccc_lightning.common import collectives, ranges
from dccc_lightning.common.progress import announced
from dccc_lightning.data.image_stream import decoded_batches
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.metrics.protocol_arrangement import split_labels
from dccc_lightning.metrics.protocol_scores import evaluate_protocol
from dccc_lightning.metrics.protocols import Protocol, protocol_of
from dccc_lightning.metrics.queries import check_queries
from dccc_lightning.metrics.reranking import CameraRerank, Rerank
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse

log = logging.getLogger(__name__)

Scores = dict[str, float]
"""mAP, mAP_oxford, mINP, rank1, rank5 and rank10 as fractions; with ``_std``, their deviations."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        protocol: Name of the evaluation protocol; ``auto`` is the dataset's own.
        flip: Average the embeddings of an image and its mirror image.
        rerank: Also rank by k-reciprocal re-ranking; None for cosine only.
        camera_center: Centre the embeddings by camera, see ``evaluate_retrieval``.
        most_per_identity: Limit of the images of a test identity, see ``LimitedTest``.
        drop_duplicates: Leave out near-duplicates of an identity, see there.
    """

    protocol: str = "auto"
    flip: bool = False
    rerank: Rerank | CameraRerank | None = None
    camera_center: bool = False
    most_per_identity: int | None = None
    drop_duplicates: bool = False

    def rules(self, splits: Splits) -> Protocol:
        """Return the protocol of a dataset."""
        return protocol_of(self.protocol, splits)


def evaluate_networks(
    embedders: Sequence[ImageEmbedder],
    splits: Splits,
    options: EvaluationOptions,
    batch_size: int = 256,
    skip_unreadable: bool = False,
) -> tuple[list[dict[str, Scores]], Splits]:
    """Evaluate networks on query and gallery, decoding images once per size and filter.

    Args:
        embedders: Networks to evaluate.
        splits: Splits of the dataset; training images are not read.
        options: Options of the evaluation.
        batch_size: Number of images per step.
        skip_unreadable: Skip images that cannot be decoded, with a warning.

    Returns:
        For each network ``cosine`` and, with ``options.rerank``, ``reranked`` or ``ca_reranked``;
        and the splits without the images that were skipped. In a process group each process embeds
        a share; only rank 0 has scores, the others an empty list.

    Raises:
        UserError: Query or gallery is empty, no query has a match, an image cannot be read, or
            there are fewer images than ``rerank`` needs.
    """
    rules = options.rules(splits)
    check_queries(splits, rules)
    _check_rerank(options.rerank, len(splits.query) + len(splits.gallery), splits.name)
    read = splits
    scores: dict[int, dict[str, Scores]] = {}
    resizings = [(e.height, e.width, e.interpolation, e.rotations, e.fit) for e in embedders]
    for resizing in sorted(set(resizings)):
        group = [i for i, other in enumerate(resizings) if other == resizing]
        networks = [embedders[i] for i in group]
        query, queries = embed_records(
            networks, splits.query, "query", options.flip, batch_size, skip_unreadable
        )
        gallery, galleries = embed_records(
            networks, splits.gallery, "gallery", options.flip, batch_size, skip_unreadable
        )
        if collectives.world()[0] > 0:
            continue
        if len(query) < len(read.query) or len(gallery) < len(read.gallery):
            read = replace(splits, query=query, gallery=gallery)
            check_queries(read, rules)
        for i, query_features, gallery_features in zip(group, queries, galleries, strict=True):
            device = embedders[i].device
            scores[i] = _rank(
                read, torch.cat([query_features, gallery_features]).to(device), rules.name, options
            )
            warn_of_collapse(
                sampled(gallery_features.flatten(0, -2)), f"gallery images of {splits.name}", log
            )
    return [scores[i] for i in sorted(scores)], read


def embed_records(
    embedders: Sequence[ImageEmbedder],
    records: Records,
    split: str,
    flip: bool,
    batch_size: int,
    skip_unreadable: bool,
) -> tuple[Records, list[Tensor]]:
    """Embed images with networks of the same size, filter and rotations, decoding each image once.

    Returns:
        The readable records, and unit embeddings for each network, (N, D), or (N, 4, D) if aligned;
        in a process group, on rank 0 only.

    Raises:
        UserError: An image cannot be read; with ``skip_unreadable``, no image can be read.
    """
    records = collectives.from_first(lambda: records)
    own = collectives.batch_shard(len(records), batch_size, *collectives.world())
    parts: list[list[Tensor]] = [[] for _ in embedders]

    def embed() -> list[UnreadableImageError | None]:
        paths = records.paths[own.start : own.stop]
        return _embed_share(embedders, paths, parts, split, flip, batch_size, skip_unreadable)

    shares = collectives.shared(embed)
    errors = [error for share in shares or () for error in share]
    skipped = [error for error in errors if error is not None]
    if skipped and len(skipped) == len(errors):
        raise UserError(f"{skipped[0]}; none of the {split} images can be read")
    counts = [share.count(None) for share in shares or ()]
    gathered = [
        collectives.gather_rows(torch.cat(part) if part else embedder.embed([]), counts)
        for part, embedder in zip(parts, embedders, strict=True)
    ]
    if skipped:
        log.warning("%d unreadable %s images skipped, first: %s", len(skipped), split, skipped[0])
        records = records.select(np.flatnonzero([error is None for error in errors]))
    return records, gathered


def _embed_share(
    embedders: Sequence[ImageEmbedder],
    paths: Sequence[Path],
    parts: Sequence[list[Tensor]],
    split: str,
    flip: bool,
    batch_size: int,
    skip_unreadable: bool,
) -> list[UnreadableImageError | None]:
    """Append embeddings to the parts of each network; return each image's error, None if read."""
    first = embedders[0]
    outcomes: list[UnreadableImageError | None] = []
    resizing = first.interpolation, first.rotations > 1, first.fit
    batches = decoded_batches(paths, first.height, first.width, batch_size, None, *resizing)
    with announced(f"embedding the {split} images", len(paths)) as phase:
        for batch in batches:
            images = []
            for image in batch:
                if not isinstance(image, UnreadableImageError):
                    images.append(image)
                    outcomes.append(None)
                elif skip_unreadable:
                    outcomes.append(image)
                else:
                    raise UserError(f"{image}; remove it or set dataset.on_error=skip") from image
            if images:
                pixels = torch.from_numpy(np.stack(images))
                for embeddings, embedder in zip(parts, embedders, strict=True):
                    embeddings.append(_embed(embedder, pixels, flip))
            phase.advance(len(batch))
    return outcomes


def _embed(embedder: ImageEmbedder, pixels: Tensor, flip: bool) -> Tensor:
    """Embed (B, 3, H, W) or (B, 4, 3, H, W) uint8 images."""
    embeddings = embedder.embed(pixels, batch_size=len(pixels))
    if flip:
        mirrored = embedder.embed(pixels.flip(dims=(-1,)), batch_size=len(pixels))
        embeddings = F.normalize(embeddings + mirrored, dim=-1)
    return embeddings


def _check_rerank(rerank: Rerank | CameraRerank | None, images: int, dataset: str) -> None:
    """Check that there are as many images as re-ranking needs.

    Raises:
        UserError: The message names the setting.
    """
    least = ranges.BY_CAMERA if isinstance(rerank, CameraRerank) else {"k1": 1}
    for name, more in least.items():
        if rerank is not None and getattr(rerank, name) + more > images:
            message = (
                f"{name} must be at most {images - more} with {images} query and gallery images, "
                f"got {getattr(rerank, name)}"
            )
            raise UserError(f"{dataset}: {_placed(message, rerank)}")


def _placed(message: str, rerank: Rerank | CameraRerank | None) -> str:
    """Prefix a message that begins with a setting of re-ranking by the section of that."""
    if rerank is None or message.partition(" ")[0] not in vars(rerank):
        return message
    return f"{'ca_reranking' if isinstance(rerank, CameraRerank) else 'reranking'}.{message}"


def _rank(
    splits: Splits, features: Tensor, protocol: str, options: EvaluationOptions
) -> dict[str, Scores]:
    """Score the embeddings of the query images followed by those of the gallery."""
    labels = split_labels(splits.query, splits.gallery)
    query, gallery = torch.arange(len(features)).tensor_split([len(splits.query)])
    rankings: dict[str, Rerank | CameraRerank | None] = {"cosine": None}
    if options.rerank is not None:
        by_camera = isinstance(options.rerank, CameraRerank)
        rankings["ca_reranked" if by_camera else "reranked"] = options.rerank
    scores: dict[str, Scores] = {}
    for name, settings in rankings.items():
        try:
            found = evaluate_protocol(
                protocol, features, labels, query, gallery,
                ap="both", rerank=settings, camera_center=options.camera_center, warn=False,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(f"{splits.name}: {_placed(str(error), settings)}") from error
        scores[name] = {key: float(value) for key, value in found.items()}
    return scores
