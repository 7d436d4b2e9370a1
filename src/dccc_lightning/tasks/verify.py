"""``task=verify``: verification of a dataset's counts and files."""

import time
import warnings
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import write_json
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.preflight import build_dataset
from dccc_lightning.data.audit.image_sizes import Range, Sizes, proposed_size
from dccc_lightning.data.audit.split_images import SPLITS
from dccc_lightning.data.audit.verification import MEASURES, Check, Figure, Report, examine
from dccc_lightning.data.datasets.file_names import shown
from dccc_lightning.data.datasets.official_counts import CountWarning, Facts
from dccc_lightning.data.datasets.small_cameras import warn_of_small_cameras
from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError
from dccc_lightning.tasks.inputs import check_checkpoint
from dccc_lightning.tasks.preprocessing_check import check_preprocessing

RESULT = "verify.json"
EXAMPLES = 3
"""Number of findings of a kind that are printed; verify.json has all."""


def verify(settings: Settings, output: Path) -> dict[str, Any]:
    """Examine a dataset and write verify.json.

    Args:
        settings: Composed configuration; ``dataset``, and ``ckpt`` for a comparison of the
            preprocessing of its network.
        output: Folder to write verify.json to.

    Returns:
        The content of verify.json.

    Raises:
        UserError: The dataset has errors (after verify.json is written), is missing, has another
            layout, or a split is empty.
    """
    start = time.perf_counter()
    if settings["ckpt"] is not None:
        check_checkpoint(settings)
    dataset = build_dataset(settings["dataset"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        splits = dataset.splits()
        every = splits.train.joined(splits.query, splits.gallery)
        warn_of_small_cameras(splits.name, every.cameras)
    notes = {  # once each: readers warn of small cameras too; counts are shown in the table
        str(w.message): w for w in caught if not issubclass(w.category, CountWarning)
    }
    for note in notes.values():
        warnings.warn_explicit(note.message, note.category, note.filename, note.lineno)
    said = [text for text, note in notes.items() if issubclass(note.category, UserWarning)]
    report = examine(splits, getattr(dataset, "facts", Facts()), notes=said)
    results = summarize(splits, report, time.perf_counter() - start)
    write_json(output / RESULT, results)
    show(splits, report)
    if report.sizes and (advice := size_advice(report.sizes, settings["image"])):
        CONSOLE.print(advice)
    if settings["ckpt"] is not None:
        results["preprocessing"] = check_preprocessing(settings, splits)
        write_json(output / RESULT, results)
    if report.errors:
        raise UserError(
            f"{splits.name} in {shown(splits.root)} is not fit: {'; '.join(report.errors)}; "
            f"{output / RESULT} has the files"
        )
    return results


def summarize(splits: Splits, report: Report, seconds: float) -> dict[str, Any]:
    """Return the content of verify.json."""
    counts: dict[str, dict[str, Any]] = {split: {} for split in (*SPLITS, "total")}
    for figure in report.figures:
        counts[figure.split][figure.measure] = {
            "found": figure.found,
            "official": figure.official,
            "verified": figure.is_verified,
        }
    return {
        "dataset": splits.name,
        "root": str(splits.root),
        "layout": splits.layout,
        "is_fit": not report.errors,
        "errors": report.errors,
        "warnings": report.warnings,
        "counts": counts,
        "checks": {
            check.key: {
                "fatal": check.is_fatal,
                "items": None if check.items is None else list(check.items),
            }
            for check in report.checks
        },
        "sizes": report.sizes
        and {
            key: value._asdict() if isinstance(value, Range) else value
            for key, value in vars(report.sizes).items()
        },
        "seconds": round(seconds, 1),
    }


def show(splits: Splits, report: Report) -> None:
    """Print the report."""
    lines = [f"{splits.name}: {shown(splits.root)}"]
    if splits.layout:
        lines.append(f"layout: {splits.layout}")
    CONSOLE.print("\n".join(lines))
    CONSOLE.print(counts_table(report.figures))
    if report.sizes:
        CONSOLE.print(sizes_table(report.sizes))
        CONSOLE.print(sizes_line(report.sizes))
    CONSOLE.print(checks_table(report.checks))
    for check in report.checks:
        if check.items:
            CONSOLE.print(f"{check.title}:", style=_style(check.is_fatal))
            more = len(check.items) - EXAMPLES
            CONSOLE.print("\n".join(f"  {item}" for item in check.items[:EXAMPLES]))
            if more > 0:
                CONSOLE.print(f"  and {more:,} more in {RESULT}")
    judgement = "not fit" if report.errors else "fit"
    counts = counted(len(report.errors), "error"), counted(len(report.warnings), "warning")
    CONSOLE.print(f"verdict: {judgement}, {', '.join(counts)}")


def counts_table(figures: tuple[Figure, ...]) -> Table:
    """Return a table of counts, marked if equal to the official ones."""
    table = Table(title="counts", title_justify="left")
    table.add_column("")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    by_place = {(figure.split, figure.measure): figure for figure in figures}
    for split in (*SPLITS, "total"):
        table.add_row(split, *(_count(by_place[split, measure]) for measure in MEASURES))
    return table


def sizes_table(sizes: Sizes) -> Table:
    """Return a table of image sizes."""
    table = Table(title="sizes", title_justify="left")
    table.add_column("")
    for column in Range._fields:
        table.add_column(column, justify="right")
    table.add_row("width", *(f"{value:,}" for value in sizes.width))
    table.add_row("height", *(f"{value:,}" for value in sizes.height))
    table.add_row("height / width", *(f"{value:.2f}" for value in sizes.aspect))
    return table


def sizes_line(sizes: Sizes) -> str:
    """Return the most common sizes and the number of wide images in one line."""
    common = ", ".join(f"{width} x {height}: {count:,}" for width, height, count in sizes.common)
    others = sizes.different - len(sizes.common)
    more = f", and {counted(others, 'other size')}" if others else ""
    return f"width x height: {common}{more}; wider than tall: {sizes.wide:,}"


def size_advice(sizes: Sizes, image: Settings) -> str:
    """Return in one line a size for the shape of the images; empty if ``image`` suits them."""
    found = proposed_size(sizes, image["height"], image["width"])
    if found is None or image["fit"] != "stretch":
        return ""
    return (
        f"image size: the median height / width is {sizes.aspect.median:.2f}, that of "
        f"{image['height']} x {image['width']} is {image['height'] / image['width']:.2f}: try "
        f"image.height={found[0]} image.width={found[1]}, or image.fit=pad where shapes differ"
    )


def checks_table(checks: tuple[Check, ...]) -> Table:
    """Return a table of the checks."""
    table = Table(title="checks", title_justify="left")
    table.add_column("")
    table.add_column("found", justify="right")
    for check in checks:
        if check.items is None:
            table.add_row(check.title, "not applicable")
        else:
            style = _style(check.is_fatal) if check.items else ""
            table.add_row(check.title, Text(f"{len(check.items):,}", style))
    return table


def _count(figure: Figure) -> Text:
    if figure.official is None:
        return Text(f"{figure.found:,}")
    if not figure.differs:
        return Text(f"{figure.found:,} =", "green")
    doubt = "" if figure.is_verified else "?"
    return Text(f"{figure.found:,}, not {figure.official:,}{doubt}", _style(figure.is_verified))


def _style(is_fatal: bool) -> str:
    return "red" if is_fatal else "yellow"
