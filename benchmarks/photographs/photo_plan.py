"""What the study of photographs runs: cases, sets, folds and seeds, the most important first."""

import itertools
from typing import NamedTuple

SHARED = (
    "dataset=folder",
    "trainer=cpu",
    "model=mobilenet_v2",
    "batch.clusters=8",
    "batch.instances=4",
    "epochs=4",
    "iterations=30",
    "optimizer.warmup_epochs=1",
    "teacher.start=30",
    "callbacks.panels=null",
    "callbacks.map=null",
    "callbacks.best=null",
)
"""Settings of every run: 120 steps of 32 images and four clusterings, one network."""

ALIGNED = (
    "embedding.rotations=4",
    "embedding.match=aligned",
    "augmentation.rotate=90",
)
TRUE = ("clustering._target_=photo_parts.TrueLabels",)
BASELINE = (
    "experiment=cluster_contrast",
    "epochs=4",
    "iterations=30",
    "model.pooling=avg",
    "optimizer.schedule=constant",
    "optimizer.warmup_epochs=1",
)
"""Cluster Contrast with the pooling and the learning rate of the others."""


class Case(NamedTuple):
    """A row of a table: its words and the settings that differ; None for no training."""

    title: str
    changes: tuple[str, ...] | None


CASES = {
    "source": Case("untrained (ImageNet)", None),
    "default": Case("DCCC, default eps 0.70", ()),
    "dccc": Case("DCCC, eps 0.55", ("recipe.start=0.55",)),
    "cc": Case("Cluster Contrast, eps 0.55", (*BASELINE, "recipe.start=0.55")),
    "mean": Case(
        "DCCC, mean of turns, eps 0.55",
        ("embedding.rotations=4", "augmentation.rotate=90", "recipe.start=0.55"),
    ),
    "aligned": Case("DCCC, aligned, eps 0.55", (*ALIGNED, "recipe.start=0.55")),
    "aligned60": Case(
        "DCCC, aligned, k1 60, eps 0.55", (*ALIGNED, "recipe.start=0.55", "clustering.k1=60")
    ),
    "true": Case("true labels (ceiling)", TRUE),
    "true_turned": Case("true labels, quarter turns", (*TRUE, "augmentation.rotate=90")),
    "frozen_bn": Case(
        "aligned, k1 60, batch norm frozen",
        (
            *ALIGNED,
            "recipe.start=0.55",
            "clustering.k1=60",
            "model.freeze=[bn_statistics]",
        ),
    ),
    "low_lr": Case(
        "aligned, k1 60, a third of the learning rate",
        (*ALIGNED, "recipe.start=0.55", "clustering.k1=60", "optimizer.lr=1.2e-4"),
    ),
    "long": Case(
        "aligned, k1 60, twice the steps",
        (*ALIGNED, "recipe.start=0.55", "clustering.k1=60", "iterations=60"),
    ),
}

PAIRS = ("clustering.algorithm.min_samples=2", "clustering.k1=10", "recipe.start=0.55")
"""Two images an identity: four of a kind, DBSCAN's usual demand, do not exist."""

VEHICLES = {
    "source": CASES["source"],
    "cc": Case("Cluster Contrast", (*BASELINE, *PAIRS)),
    "dccc": Case("DCCC", PAIRS),
    "whiten": Case("DCCC + whitening by camera", (*PAIRS, "clustering.camera=whiten")),
    "ca_jaccard": Case("DCCC, CA-Jaccard", (*PAIRS, "clustering.camera=ca_jaccard")),
    "true": CASES["true"],
}

ROWS = {"opencows": CASES, "vehicles": VEHICLES, "nyala": {"source": CASES["source"]}}
"""Cases of each set."""

SMALL_BATCH = {"vehicles": ("batch.clusters=16", "batch.instances=2")}
"""Settings of all cases of a set; the batch has 32 images everywhere."""


LABELS = "labels"
"""Case of pseudo labels of the untrained network, without a training."""

LABEL_SETTINGS = {"opencows": ((30, 60), 4), "vehicles": ((10,), 2)}
"""k1 and min_samples of them."""


class Job(NamedTuple):
    """One run."""

    photo_set: str
    fold: str
    case: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its row and of its folder."""
        return f"{self.photo_set}-{self.fold}-{self.case}-seed={self.seed}"

    @property
    def changes(self) -> tuple[str, ...] | None:
        """Settings that differ from the shared ones; None for no training."""
        if self.case == LABELS:
            return None
        changes = ROWS[self.photo_set][self.case].changes
        return None if changes is None else SMALL_BATCH.get(self.photo_set, ()) + changes


def _jobs(photo_set: str, folds: str, cases: tuple[str, ...], seeds: tuple[int, ...]) -> list[Job]:
    product = itertools.product(seeds, cases, folds.split())
    return [Job(photo_set, fold, case, seed) for seed, case, fold in product]


def plan() -> list[Job]:
    """Return every run once, in the order in which they are to be made."""
    plain = ("default", "true", "cc", "dccc")
    turned = ("aligned60", "true_turned", "aligned", "mean")
    cameras = ("ca_jaccard", "whiten", "dccc", "cc", "true")
    jobs = [
        *_jobs("opencows", "A B", ("source",), (1,)),
        *_jobs("vehicles", "A B", ("source",), (1,)),
        *_jobs("nyala", "test", ("source",), (1,)),
        *_jobs("opencows", "A B", ("default", "true", "aligned60"), (1,)),
        *_jobs("vehicles", "A", cameras, (1,)),
        *_jobs("opencows", "A B", (LABELS,), (1,)),
        *_jobs("vehicles", "A", (LABELS,), (1,)),
        *_jobs("opencows", "A B", ("true_turned", "cc", "dccc"), (1,)),
        *_jobs("opencows", "A B", ("aligned60",), (2, 3)),
        *_jobs("opencows", "A B", ("true_turned",), (2, 3)),
        *_jobs("vehicles", "A", cameras, (2, 3)),
        *_jobs("opencows", "A", ("frozen_bn", "low_lr", "long"), (1,)),
        *_jobs("opencows", "A B", (*plain, *turned), (1, 2, 3)),
        *_jobs("vehicles", "B", cameras, (1, 2, 3)),
        *_jobs("opencows", "B", ("frozen_bn", "low_lr", "long"), (1,)),
    ]
    return list(dict.fromkeys(jobs))
