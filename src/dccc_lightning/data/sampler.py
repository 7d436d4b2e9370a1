"""PK batches of P clusters with K instances each, drawn for all processes and split by rank."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from dccc_lightning.common import checks
from dccc_lightning.data.tracklet_variety import draw_varied, spread_offsets

IntArray = NDArray[np.int64]


class SampleKey(NamedTuple):
    """Key of a training sample, which determines its random numbers.

    Attributes:
        index: Index of the image in the training set.
        epoch: Epoch, from 0.
        step: Step of the epoch, from 0.
        slot: Position in the global batch.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    epoch: int
    step: int
    slot: int


def draw_batches(
    labels: IntArray,
    cameras: IntArray,
    clusters: int,
    instances: int,
    iterations: int,
    seed: int,
    epoch: int,
    tracklets: IntArray | None = None,
    frames: IntArray | None = None,
) -> IntArray:
    """Draw the batches of an epoch ("random multiple gallery" sampler of Cluster Contrast).

    For each cluster, draw a random anchor and K - 1 images from other cameras than the anchor's, or
    from the rest of the cluster if it has one camera; with replacement if there are fewer than K
    candidates. Batches take the clusters of a random permutation in turn; an incomplete last batch
    is dropped and the next permutation starts. If there are fewer than P clusters, permutations are
    concatenated to fill a batch.

    With tracklets, the K - 1 images are of as many of the candidates' tracklets as there are, one
    of each in turn, and far apart in time within each; the anchor's own tracklet, which is among
    the candidates if the cluster has one camera, comes last.

    Args:
        labels: (N,) cluster of each image, -1 for outliers, which are not drawn.
        cameras: (N,) camera of each image, -1 if unknown.
        clusters: P, clusters per batch.
        instances: K, images per cluster.
        iterations: Number of batches.
        seed: Seed of the run, at least 0.
        epoch: Epoch, from 0.
        tracklets: (N,) tracklet of each image, each of one camera; None if there are none.
        frames: (N,) frames, which order the images of a tracklet; None for the order of images.

    Returns:
        (iterations, P * K) int64 indices of images: P blocks of K, anchor first.

    Raises:
        ValueError: There are fewer than two clusters, or the lengths differ.
    """
    checks.integer("clusters", clusters, low=1)
    checks.integer("instances", instances, low=1)
    checks.integer("iterations", iterations, low=0)
    labels, cameras = np.asarray(labels), np.asarray(cameras)
    if labels.shape != cameras.shape:
        raise ValueError(
            f"labels and cameras must have one shape, got {labels.shape} and {cameras.shape}"
        )
    members = np.flatnonzero(labels >= 0)
    # Sorted by cluster, then camera, tracklet and frame: each is a run of consecutive positions.
    keys = [cameras, labels]
    if tracklets is not None:
        keys = [np.zeros_like(labels) if frames is None else frames, tracklets, *keys]
    members = members[np.lexsort([key[members] for key in keys])]
    first, size = runs(labels[members])
    if len(first) < 2:
        raise ValueError(f"a batch needs at least 2 clusters, got {len(first)}")
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    drawn = draw_clusters(rng, len(first), clusters, iterations).ravel()
    first, size = first[drawn], size[drawn]
    anchors = first + rng.integers(0, size)

    # Candidates are the cluster without one run: the anchor's camera, or the anchor.
    camera_first, camera_size = runs(labels[members], cameras[members])
    camera = np.searchsorted(camera_first, anchors, side="right") - 1
    gap, gap_size = camera_first[camera], camera_size[camera]
    one_camera = gap_size == size
    if tracklets is not None:
        gap_size = np.where(one_camera, 0, gap_size)
        inside = runs(labels[members], cameras[members], tracklets[members])
        others = _varied(rng, inside, first, size, gap, gap_size, anchors, instances - 1)
    else:
        gap = np.where(one_camera, anchors, gap)
        gap_size = np.where(one_camera & (size > 1), 1, np.where(one_camera, 0, gap_size))
        others = draw_positions(rng, size - gap_size, instances) + first[:, None]
        others += np.where(others >= gap[:, None], gap_size[:, None], 0)
    batches: IntArray = members[np.concatenate([anchors[:, None], others], axis=1)]
    return batches.reshape(iterations, clusters * instances)


def _varied(
    rng: np.random.Generator,
    inside: tuple[IntArray, IntArray],
    first: IntArray,
    size: IntArray,
    gap: IntArray,
    gap_size: IntArray,
    anchors: IntArray,
    draws: int,
) -> IntArray:
    """Draw positions (R, draws) from the runs ``inside`` [first, first + size) without the gap."""
    starts, lengths = inside
    offsets = spread_offsets(lengths)
    ends = (first, gap, gap + gap_size, first + size)
    low, left, right, high = (np.searchsorted(starts, end) for end in ends)
    others = np.empty((len(first), draws), dtype=np.int64)
    for row, anchor in enumerate(anchors.tolist()):
        chosen = np.r_[low[row] : left[row], right[row] : high[row]]
        others[row] = draw_varied(rng, starts[chosen], lengths[chosen], offsets, anchor, draws)
    return others


def runs(*columns: IntArray) -> tuple[IntArray, IntArray]:
    """Return the first position and the length of each run of equal rows in sorted columns."""
    length = len(columns[0])
    changes = np.zeros(length, dtype=bool)
    changes[:1] = True
    for column in columns:
        changes[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(changes)
    return first, np.diff(first, append=length)


def draw_clusters(
    rng: np.random.Generator, available: int, clusters: int, iterations: int
) -> IntArray:
    """Draw the clusters of each batch, (iterations, P), from permutations of all clusters."""
    if available < clusters:
        passes = -(-clusters // available)
        order = rng.permuted(np.tile(np.arange(available), (iterations * passes, 1)), axis=1)
        return order.reshape(iterations, passes * available)[:, :clusters]
    batches = available // clusters
    passes = -(-iterations // batches)
    order = rng.permuted(np.tile(np.arange(available), (passes, 1)), axis=1)
    return order[:, : batches * clusters].reshape(-1, clusters)[:iterations]


def draw_positions(rng: np.random.Generator, candidates: IntArray, instances: int) -> IntArray:
    """Draw K - 1 numbers below ``candidates`` for each row, in random order.

    Rows with at least K candidates are drawn without replacement by Floyd's algorithm: the t-th
    draw is uniform on 0..j with j = candidates - K + 1 + t, and is replaced by j if already taken.
    """
    rows, draws = len(candidates), instances - 1
    chosen = rng.integers(0, candidates[:, None], size=(rows, draws))
    enough = np.flatnonzero(candidates >= instances)
    distinct = np.empty((len(enough), draws), dtype=np.int64)
    for draw in range(draws):
        last = candidates[enough] - draws + draw
        number = rng.integers(0, last + 1)
        taken = (distinct[:, :draw] == number[:, None]).any(axis=1)
        distinct[:, draw] = np.where(taken, last, number)
    chosen[enough] = rng.permuted(distinct, axis=1)
    return chosen


class ClusterBatchSampler(Sampler[list[SampleKey]]):
    """Batch sampler that yields a rank's share of the global batches of an epoch.

    A global batch is split into consecutive parts (gradient accumulation), and each part into
    contiguous blocks, one per rank.

    Args:
        batches: (iterations, B) indices from ``draw_batches``.
        epoch: Epoch of the batches.
        rank: Rank of this process.
        world_size: Number of processes.
        start: First step to yield, to resume in mid-epoch. The length remains that of the whole
            epoch, since Lightning includes completed steps in it.
        parts: Number of parts of a global batch.

    Raises:
        ValueError: The world size times the number of parts does not divide B.
    """

    def __init__(
        self,
        batches: IntArray,
        epoch: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        parts: int = 1,
    ) -> None:
        iterations, batch_size = batches.shape
        self.batches = batches
        self.epoch = checks.integer("epoch", epoch, low=0)
        self.world_size = checks.integer("world_size", world_size, low=1)
        self.rank = checks.integer("rank", rank, low=0, high=world_size - 1)
        self.start = checks.integer("start", start, low=0, high=iterations)
        self.parts = checks.integer("parts", parts, low=1)
        if batch_size % (world_size * parts):
            name, share = (
                ("world_size", world_size)
                if parts == 1
                else ("world_size * parts", world_size * parts)
            )
            sizes = [size for size in range(1, batch_size + 1) if batch_size % size == 0]
            raise ValueError(
                f"{name} must divide the batch of {batch_size} images, got {share}; "
                f"choose from {', '.join(map(str, sizes))}"
            )

    def __len__(self) -> int:
        return len(self.batches) * self.parts

    def __iter__(self) -> Iterator[list[SampleKey]]:
        block = self.batches.shape[1] // (self.world_size * self.parts)
        for step in range(self.start, len(self.batches)):
            for part in range(self.parts):
                first = (part * self.world_size + self.rank) * block
                slots = range(first, first + block)
                batch = self.batches[step, slots.start : slots.stop].tolist()
                yield [
                    SampleKey(index, self.epoch, step, slot)
                    for index, slot in zip(batch, slots, strict=True)
                ]


class EpochBatches(Sampler[list[SampleKey]]):
    """Batch sampler whose epoch is replaceable, so that a loader keeps its workers."""

    def __init__(self) -> None:
        self.current: ClusterBatchSampler | None = None

    def __len__(self) -> int:
        return 0 if self.current is None else len(self.current)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(()) if self.current is None else iter(self.current)
