"""Gain of the answers to the questions of review.html, given by the truth.

    python benchmarks/review_decisions.py bundled:11 bundled:12 bundled:13 --shift 1.3

Each argument is a checkpoint and the seed of a synthetic world, whose training images are
identified. A round answers the first questions of the page, as a person who marks the images of
others would, and identifies again; the next round asks the questions of the result.
"""

import argparse

from dccc_lightning import load_embedder
from dccc_lightning.clustering.constraints import Constraints, Links
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.identities.identification import Identifier
from dccc_lightning.identities.suggestions import MERGE, SPLIT, suggestions
from dccc_lightning.metrics.identified_images import identification_scores
from dccc_lightning.neighbors.embeddings import UnitEmbeddings


def answered(question, true):
    """Return the rows (image, same, image) that the page saves."""
    first, second = question.first, question.second
    same = true[first[0]] == true[second[0]]
    rows = [] if same else [(first[0], False, second[0])]
    for group in (first, second):
        lead = first[0] if same else group[0]
        rows += [(lead, true[image] == true[lead], image) for image in group if image != lead]
    return rows


def main():
    """Print a line per checkpoint, treatment of cameras and kind of questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="CHECKPOINT:WORLD")
    parser.add_argument("--shift", type=float, default=1.0, help="camera_shift of the worlds")
    parser.add_argument("--decisions", type=int, default=30, help="answers a round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for run in given.runs:
        checkpoint, _, seed = run.rpartition(":")
        images = SyntheticPedestrians(seed=int(seed), camera_shift=given.shift).splits().train
        true, cameras, n = images.identities, images.cameras, len(images)
        unit = UnitEmbeddings.of(load_embedder(checkpoint).embed([str(p) for p in images.paths]))
        for camera in ("none", "center"):
            for kind in (MERGE, SPLIT):
                identifier = Identifier(camera=camera)
                links = {True: [], False: []}
                scores = []
                for _ in range(given.rounds + 1):
                    known = Constraints.of(range(n), *(Links.of(links[k]) for k in (True, False)))
                    labels = identifier(unit, cameras, known.groups, known.apart)
                    scores.append(100 * identification_scores(labels, true)["idf1"])
                    found = suggestions(
                        unit, labels, known, cameras, [None] * n, most=given.decisions
                    )
                    asked = [q for q in found.questions if q.kind == kind][: given.decisions]
                    for question in asked:
                        for one, same, other in answered(question, true):
                            links[bool(same)].append((one, other, ""))
                figures = " ".join(f"{score:.1f}" for score in scores)
                print(f"{run} camera={camera:6} {kind:5} {figures}", flush=True)


if __name__ == "__main__":
    main()
