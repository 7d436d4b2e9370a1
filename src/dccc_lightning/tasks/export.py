"""``task=export``: verified export to ONNX, ``torch.export`` and OpenVINO with a model card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.table import Table

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.errors import UserError
from dccc_lightning.inference.checked_export import (
    Contents,
    Parity,
    about,
    check_precision,
    decoded,
    embedded,
    save,
    written,
)
from dccc_lightning.inference.export_example import EMBEDDING, EXAMPLE, ExportExample
from dccc_lightning.inference.exporting import FORMATS, require_packages
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.inference.model_card import model_card
from dccc_lightning.inference.runtimes import (
    HINT,
    RUNTIMES,
    Run,
    milliseconds,
    processor,
    runner,
)
from dccc_lightning.metrics.mean_ap_among import mean_ap_among
from dccc_lightning.neighbors.turned_rows import of_rows
from dccc_lightning.tasks.inputs import SPLITS, embedder_of, images_of, source_of

CARD, REPORT = "MODEL_CARD.md", "export.json"
THREADS = (1, 2)
PARTS = {"model.onnx": (".onnx",), "model.pt2": (".pt2",), "model.xml": (".xml", ".bin")}
"""Suffixes of the files that belong to the file to load."""


def export(settings: Settings, output: Path) -> dict[str, Any]:
    """Export the network of ``ckpt``, after comparing each format with the module.

    Args:
        settings: Composed configuration.
        output: Folder to write model.onnx, model.pt2, MODEL_CARD.md, export.json, example.jpg and
            its embedding example.npy to.

    Returns:
        The content of export.json.

    Raises:
        UserError: A setting, the checkpoint or an image is invalid, a package is missing, or an
            exported network disagrees with the module; nothing is written then.
    """
    formats, precision, limit = checked("settings", lambda: _request(settings))
    require_packages(formats, precision)
    embedder = embedder_of(settings, "cpu")  # exported files must run on any device
    run = _run_of(embedder)
    config = _read(run / "config.yaml") if run else None
    results = _read(run / "results.json") if run else None
    source = source_of(settings, private=True)  # the model card is distributed
    rows = _listed(settings, "input")
    pixels = decoded([row.path for row in rows], embedder)
    calibration = None
    if precision == "int8":
        calibration = decoded([row.path for row in _listed(settings, "calibration")], embedder)
    with announced("exporting"):
        contents = written(embedder, formats, precision, calibration)
    example = ExportExample.of(embedder)
    facts = {
        **about(embedder),
        "precision": precision,
        "parameters": sum(p.numel() for p in embedder.network.parameters()),
        "files": {
            name: len(content) for files in contents.values() for name, content in files.items()
        },
        **_compared(embedder, contents, pixels, rows, precision, limit),
        "compared": f"{len(pixels)} images ({source})",
        "example": {"bgr_cost": example.bgr_cost},
        "machine": f"{processor()}, torch {torch.__version__}",
    }
    facts["notes"] = notes(facts)
    card = model_card(embedder.origin, facts, config, results, settings["licence"])
    save(output, contents)
    write_atomically(output / EXAMPLE, example.picture)
    write_atomically(output / EMBEDDING, example.embedding_file)
    write_atomically(output / CARD, card.encode())
    write_json(output / REPORT, facts)
    CONSOLE.print(_table(facts))
    for note in facts["notes"]:
        CONSOLE.print(note)
    return facts


def _request(settings: Settings) -> tuple[list[str], str, float | None]:
    """Return the distinct formats in the order of ``FORMATS``, the precision and the limit."""
    chosen = settings["format"]
    names = [chosen] if isinstance(chosen, str) else chosen
    if not isinstance(names, Sequence) or not names:
        raise ValueError(f"format must be one or several of {', '.join(FORMATS)}, got {chosen!r}")
    for name in names:
        checks.choice("format", name, FORMATS)
    if settings["precision"] == "int8" and settings["calibration"] is None:
        raise ValueError(
            f"precision=int8: calibration= is needed: a folder of images of the cameras in "
            f"question, or one of {', '.join(SPLITS)} of dataset="
        )
    check_precision(names, settings["precision"], 1)
    limit = settings["limit"]
    given = None if limit is None else checks.real("limit", limit, 0, 2)
    return [name for name in FORMATS if name in names], settings["precision"], given


LABELS = ("identity", "camera", "sighting")
"""Labels of images among which mAP is measured."""


def _listed(settings: Settings, key: str) -> list[ListedImage]:
    """List the first images of a setting."""
    number = checked("images", lambda: checks.integer("images", settings["images"], 2))
    chosen = dict(settings) | {"input": settings[key]}
    source_of(chosen)
    rows = list(islice(images_of(chosen), number))
    if not rows:
        raise UserError(f"{key}={settings[key]}: no images to export with")
    return rows


def _compared(
    embedder: ImageEmbedder,
    contents: Contents,
    pixels: NDArray[np.uint8],
    rows: Sequence[ListedImage],
    precision: str,
    limit: float | None,
) -> dict[str, Any]:
    """Save the files elsewhere, load them in their runtimes, compare, and measure the speed."""
    ours = embedder.rows(torch.from_numpy(pixels)).numpy()
    labels = [_numbered([getattr(row, key) for row in rows]) for key in LABELS]
    mean_ap = {"module": _mean_ap(ours, labels, embedder.fingerprint)}
    parity: dict[str, Any] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        save(folder, contents)
        for file in contents:
            theirs = embedded(runner(folder / file), pixels)
            found = Parity.between(ours, theirs)
            found.check(file, precision, limit)
            parity[file] = asdict(found)
            mean_ap[file] = _mean_ap(theirs, labels, embedder.fingerprint)
        speed = {"torch": _speed(lambda _: _torch_run(embedder), pixels)}
        for file in contents:
            speed[RUNTIMES[file]] = _speed(partial(runner, folder / file), pixels)
    labelled = mean_ap["module"] is not None
    return {"parity": parity, "mAP": mean_ap if labelled else None, "speed": speed}


def _mean_ap(
    rows: NDArray[np.float32], labels: Sequence[NDArray[np.int64]], fingerprint: str
) -> float | None:
    """Return the mAP of images among themselves, compared as the model of the fingerprint does."""
    return mean_ap_among(torch.from_numpy(of_rows(rows, fingerprint).compared), *labels)


def _torch_run(embedder: ImageEmbedder) -> Run:
    return lambda images: embedder.rows(torch.from_numpy(images)).numpy()


def _speed(load: Callable[[int], Run], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure milliseconds an image, for batches of 1 and 32 in one and two threads."""
    before, times = torch.get_num_threads(), {}
    try:
        for threads in THREADS:
            torch.set_num_threads(threads)
            run = load(threads)
            for size in dict.fromkeys((1, min(32, len(pixels)))):
                head = f"batch {size}, {counted(threads, 'thread')}"
                times[head] = round(milliseconds(run, pixels[:size]), 3)
    finally:
        torch.set_num_threads(before)
    return times


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each text, -1 for empty ones."""
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return np.where(np.array(names) == "", -1, numbers)


def notes(facts: Mapping[str, Any]) -> list[str]:
    """Return remarks on the precision, for the terminal and the model card."""
    lines = []
    if "model.xml" in facts["files"]:
        lines.append(
            f"OpenVINO computed with {HINT} = f32, read back; without it, processors with bfloat16 "
            "compute less precisely"
        )
    if facts["precision"] == "int8":
        lines.append(
            "int8 arithmetic depends on the processor: these figures hold for "
            f"{facts['machine'].split(',')[0]}; compare again where the file is served"
        )
    return lines


def _run_of(embedder: ImageEmbedder) -> Path | None:
    """Return the run folder of the network, if it is in one."""
    if embedder.origin.path == "bundled":
        return None
    folders = Path(embedder.origin.path).absolute().parents[:2]
    return next((folder for folder in folders if (folder / "config.yaml").is_file()), None)


def _read(path: Path) -> Mapping[str, Any] | None:
    """Read a YAML or JSON file of the run; None if it does not exist."""
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged; restore it, or remove it to export without") from error
    return content if isinstance(content, Mapping) else None


def _table(facts: Mapping[str, Any]) -> Table:
    """Return a table of agreement and speed for the terminal."""
    title = f"{facts['compared']}, {facts['precision']}, {facts['machine']}"
    table = Table(title=title, title_justify="left")
    heads = ["", "MB", "1 - cos, mean", "worst"]
    heads += ["mAP"] if facts["mAP"] else []
    times = next(iter(facts["speed"].values()))
    for head in (*heads, *(f"ms an image, {size}" for size in times)):
        table.add_column(head, justify="right" if head else "left", no_wrap=not head)
    for name, runtime in ((None, "torch"), *RUNTIMES.items()):
        if runtime in facts["speed"]:
            speed = [f"{time:.2f}" for time in facts["speed"][runtime].values()]
            table.add_row(name or "module", *_agreement(facts, name), *speed)
    return table


def _agreement(facts: Mapping[str, Any], name: str | None) -> list[str]:
    """Return size, agreement and mAP of a file; of the module only the mAP."""
    scores = facts["mAP"]
    if name is None:
        return ["", "", "", *([f"{scores['module']:.1%}"] if scores else [])]
    size = sum(n for file, n in facts["files"].items() if Path(file).suffix in PARTS[name])
    found = facts["parity"][name]
    cells = [f"{size / 1e6:.1f}", f"{found['mean']:.1e}", f"{found['worst']:.1e}"]
    return cells + ([f"{100 * (scores[name] - scores['module']):+.2f}"] if scores else [])
