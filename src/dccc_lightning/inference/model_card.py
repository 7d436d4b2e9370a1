"""Model card of an exported network."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dccc_lightning.inference.card_subjects import Subjects, subjects_of
from dccc_lightning.inference.image_embedder import Origin
from dccc_lightning.inference.usage_code import RUNS
from dccc_lightning.reports.label_free import FIGURES
from dccc_lightning.reports.results import SCORE_NAMES, SCORES, cell, noted

PAPER = (
    'He, Xue, Du, Zhao, Su, "Dynamic Clustering and Cluster Contrastive Learning for '
    'Unsupervised Person Re-identification", ICASSP 2024, arXiv 2303.06810'
)

SHOWN = (
    "seed", "epochs", "iterations", "batch", "image", "embedding", "augmentation", "teacher",
    "model", "scheduler", "clustering", "memory", "loss", "optimizer",
)  # fmt: skip
"""Sections of the settings that describe the training, without paths of the machine."""

_FIGURES = {
    "initial": "before training",
    "student": "student, last epoch",
    "teacher": "teacher, last epoch",
    "best": "{network}, epoch {epoch}: the best on the test split",
    "published": "published for DCCC",
}


def model_card(
    origin: Origin,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> str:
    """Write a model card in Markdown.

    Args:
        origin: Description of the network.
        facts: Content of export.json of ``task=export``.
        settings: Content of the run's config.yaml, if available.
        results: Content of the run's results.json, if available.
        licence: Licence of the weights, as stated by the user.
    """
    rotations = facts["preprocessing"]["rotations"]
    subjects = subjects_of(origin.dataset, settings, rotations)
    sections = {
        "What it is": _what(origin, facts, settings, subjects),
        "How to run it": _usage(facts),
        "Data": _data(origin),
        "Settings": _settings(settings),
        "Figures": _figures(origin, results),
        "Agreement with the original, and speed": _agreement(facts),
        "Intended use": subjects.intended,
        "Limits": subjects.limits,
        "Licence": _licence(origin, licence),
    }
    backbone = origin.model.get("backbone", "Network")
    title = f"# {backbone} for the re-identification of {subjects.plural}\n"
    return title + "".join(f"\n## {name}\n\n{text}" for name, text in sections.items())


def _what(
    origin: Origin,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    subjects: Subjects,
) -> str:
    task = str(((settings or {}).get("task") or {}).get("_target_"))
    supervised = origin.path == "bundled" or task.endswith(".pretrain")
    how = (
        "It was trained with identity labels, as initial weights for adaptation."
        if supervised
        else f"It was trained without identity labels, by DCCC ({PAPER})."
    )
    rows = [
        ("network", f"{origin.network} of `{Path(origin.path).name}`"),
        ("parameters", f"{facts['parameters']:,}"),
        ("fingerprint", f"`{facts['fingerprint']}`"),
        ("trained with", f"dccc-lightning, version {origin.version}"),
    ]
    return (
        f"It maps a {origin.height} x {origin.width} crop of {subjects.one} to a unit vector of "
        f"{facts['feature_dim']} numbers. {how}\n\n{_table(('', ''), rows)}"
    )


def _usage(facts: Mapping[str, Any]) -> str:
    rows = [(f"`{name}`", f"{size / 1e6:.1f} MB") for name, size in facts["files"].items()]
    given = facts["preprocessing"]
    interpolation = given["interpolation"].upper()
    call = {"stretch": "crop.resize(", "pad": "ImageOps.pad(crop, ", "crop": "ImageOps.fit(crop, "}
    size = f"({facts['width']}, {facts['height']}), Image.Resampling.{interpolation}"
    resized = f"{call[given['fit']]}{size})).transpose(2, 0, 1)[None]"
    mean, std = (" ".join(f"{value:g}" for value in given[key]) for key in ("mean", "std"))
    order = ", after reversing the channels to BGR" if given["colour"] == "bgr" else ""
    bgr_cost = facts["example"]["bgr_cost"]
    runs = "\n".join(code for name, code in RUNS.items() if name in facts["files"])
    return f"""\
{_table(("file", "size"), rows)}
Input `images`: (B, 3, {facts["height"]}, {facts["width"]}) uint8, RGB, any B. Output `embeddings`:
(B, {facts["feature_dim"]}) float32. Normalisation is part of the model, so do not repeat it: mean
{mean}, std {std} of values in [0, 1]{order}.
Images are rotated by their EXIF orientation and resized with Pillow's `{interpolation}`:

```python
import numpy as np
from PIL import Image, ImageOps

crop = ImageOps.exif_transpose(Image.open("example.jpg")).convert("RGB")
images = np.array({resized}
```
{_turns(given, facts)}
OpenCV reads BGR: with red and blue swapped, the embedding of `example.jpg` has 1 - cosine =
{bgr_cost:.2f} to the correct one. OpenCV's `resize` has no such
antialiasing, so use Pillow's:

```python
import cv2
import numpy as np
from PIL import Image, ImageOps

crop = Image.fromarray(cv2.cvtColor(cv2.imread("example.jpg"), cv2.COLOR_BGR2RGB))
images = np.array({resized}
```

{runs}
`example.jpg` is a drawn pedestrian, and `example.npy` its embedding: the cosine is 1, up to
rounding and differences between JPEG decoders.

```python
print(float(embeddings[0] @ np.load("example.npy")))
```
"""


def _turns(given: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return how the model embeds images that turn; empty for upright ones."""
    if given["rotations"] == 1:
        return ""
    if given["match"] == "mean":
        return (
            "\nThe model turns each image by 0, 90, 180 and 270 degrees and returns the mean "
            "embedding, so that turned images have equal embeddings.\n"
        )
    return (
        "\nThe model turns each image by 0, 90, 180 and 270 degrees: a row holds the four "
        f"embeddings of {facts['feature_dim'] // 4} numbers, each of length 1/2. The similarity of "
        "two images is the largest of four products, over the shifts of one row:\n\n"
        "```python\ndef similarity(a, b):\n"
        "    turns = (np.roll(b.reshape(4, -1), r, axis=0).ravel() for r in range(4))\n"
        "    return max(float(a @ turn) for turn in turns)\n"
        "```\n"
    )


def _data(origin: Origin) -> str:
    text = f"Trained on: {origin.dataset}.\n"
    if origin.dataset.startswith("synthetic"):
        text += "Its pedestrians are drawn by dccc-lightning and show no real person.\n"
    if "duke" in origin.dataset.lower():
        text += (
            "DukeMTMC was withdrawn by its authors, since its subjects had not consented: do not "
            "publish or deploy networks trained on it.\n"
        )
    return text


def _settings(settings: Mapping[str, Any] | None) -> str:
    if settings is None:
        return "Unknown: the network was not in its run folder.\n"
    shown = {key: settings[key] for key in SHOWN if key in settings}
    if isinstance(model := shown.get("model"), Mapping) and model.get("weights"):
        shown["model"] = {**model, "weights": Path(str(model["weights"])).name}
    return f"```yaml\n{yaml.safe_dump(shown, sort_keys=False)}```\n"


def _figures(origin: Origin, results: Mapping[str, Any] | None) -> str:
    if results is None:
        return "None: the network was not in its run folder, or the run was not finished.\n"
    best = results.get("best") or {}
    if "selected_by" in best:
        return _label_free_figures(origin, results)
    chosen = {"network": best.get("network", "a network"), "epoch": _epoch(best)}
    rows = [
        (
            name.format(**chosen),
            *(cell(scores, score) for score in SCORES),
        )
        for key, name in _FIGURES.items()
        if isinstance(scores := results.get(key), Mapping)
    ]
    protocol = f"protocol {results.get('protocol', 'market1501')}"
    unit = noted(f"{protocol}, per cent", results.get("note"))
    return (
        f"On the test split of {origin.dataset}, {unit}, {_one_run(origin, results)}\n\n"
        f"{_table(('', *(SCORE_NAMES[score] for score in SCORES)), rows)}"
    )


def _label_free_figures(origin: Origin, results: Mapping[str, Any]) -> str:
    """Return the section for a run without identities, which has no retrieval metrics."""
    best = results["best"]
    rows = [
        (
            f"{name}: {_epoch(figures)}",
            *(
                form.format(figures[key]) if key in figures else ""
                for key, (_, form) in FIGURES.items()
            ),
        )
        for name, figures in (results.get("figures") or {}).items()
    ]
    return (
        f"Without identities no retrieval metrics are available for {origin.dataset}. The table "
        f"describes the clusters of the training images in "
        f"{_one_run(origin, results)} The best epoch is chosen by this rule: "
        f"{best['selected_by']}; epoch {_epoch(best)}, and of its networks the "
        f"{best.get('network', 'only one')}.\n\n"
        f"{_table(('epoch', *(title for title, _ in FIGURES.values())), rows)}"
    )


def _epoch(entry: Mapping[str, Any]) -> str:
    """Return an epoch as text, counted from 1."""
    return str(entry["epoch"] + 1) if "epoch" in entry else "unknown"


def _one_run(origin: Origin, results: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in (results.get("versions") or {}).items())
    return (
        f"one run (seed {results.get('seed')}; {versions}). The exported network is the "
        f"{origin.network} of `{Path(origin.path).name}`."
    )


def _agreement(facts: Mapping[str, Any]) -> str:
    compared = [
        (name, f"{found['mean']:.1e}", f"{found['worst']:.1e}", *_change(facts, name))
        for name, found in facts["parity"].items()
    ]
    speed = [
        (name, *(f"{time:.2f}" for time in times.values()))
        for name, times in facts["speed"].items()
    ]
    batches = [f"ms an image, {size}" for size in next(iter(facts["speed"].values()))]
    heads = ["", "1 - cosine, mean", "worst", *(["change of mAP, points"] if facts["mAP"] else [])]
    return (
        f"Precision {facts['precision']}. Compared with the module of dccc-lightning on "
        f"{facts['compared']}:\n\n{_table(heads, compared)}\n"
        f"Measured on {facts['machine']}:\n\n{_table(('', *batches), speed)}"
        + "".join(f"\n{note}.\n" for note in facts["notes"])
    )


def _change(facts: Mapping[str, Any], name: str) -> list[str]:
    scores = facts["mAP"]
    return [f"{100 * (scores[name] - scores['module']):+.2f}"] if scores else []


def _licence(origin: Origin, licence: str | None) -> str:
    if licence:
        return f"{licence}\n"
    text = "dccc-lightning is under the MIT licence. "
    if origin.path == "bundled":
        return f"{text}So are these weights, which are part of it.\n"
    return (
        f"{text}The weights belong to the person who trained them, subject to the terms of "
        f"{origin.dataset} and of the initial weights. Most datasets of this field allow research "
        "only. No licence was stated for this export (set it with `licence=TEXT`).\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
