"""Tables of docs/performance.md from what ``check.py`` has measured on a GPU.

    python benchmarks/gpu_check/tables.py                    # the page says that none was measured
    python benchmarks/gpu_check/tables.py gpu_check.json     # the page holds the tables

What is between the two markers of the page is replaced.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- GPU: begin -->", "<!-- GPU: end -->"

STEP_SHARE = 0.85
"""Least speed of our step over that of the bare network."""

OTHER_SHARE = 0.15
"""Largest share of an epoch that is not training."""

RECIPE_MINUTES = 25
"""Minutes within which the 70 epochs of Market-1501 should end."""

VIT_IMAGES = 1.3 * 432
"""Images per second of ViT-B: 1.3 times the log of Cluster Contrast with CLIP on an A100."""

NONE = "**No GPU has been measured yet.** The targets stand in `benchmarks/gpu_check/tables.py`."


def met(value: float, target: float, at_least: bool) -> str:
    """Return the verdict on a target."""
    return "met" if (value >= target if at_least else value <= target) else "**not met**"


def absent(part: dict[str, Any] | None) -> str:
    """Return why a part has no row."""
    return "not run" if part is None else f"no figures: {part['status']}"


def gigabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e9:.1f} GB"


def targets(parts: dict[str, Any]) -> list[str]:
    """Return the table of the targets, with a row for each whether it was measured or not."""
    rows = []

    def row(name: str, value: float | None, target: float, at_least: bool, form: str) -> None:
        sign = "at least" if at_least else "at most"
        shown = "not measured" if value is None else form.format(value)
        verdict = "" if value is None else met(value, target, at_least)
        rows.append(f"| {name} | {shown} | {sign} {form.format(target)} | {verdict} |")

    for key, name in (("resnet", "ResNet-50"), ("vit", "ViT-B")):
        ways = ((parts.get(key) or {}).get("figures") or {}).get("ways", {})
        for prefix, note in (("", ""), ("compiled ", ", compiled")):
            pair = [ways.get(f"{prefix}{way}") for way in ("ours", "bare")]
            share = (
                pair[0]["images_per_second"] / pair[1]["images_per_second"] if all(pair) else None
            )
            row(f"step over the bare network, {name}{note}", share, STEP_SHARE, True, "{:.2f}")
        if key == "vit":
            ours = [
                ways[way]["images_per_second"] for way in ("ours", "compiled ours") if way in ways
            ]
            best = max(ours, default=None)
            row("ViT-B, images per second, the faster way", best, VIT_IMAGES, True, "{:,.0f}")
    epoch = (parts.get("epoch") or {}).get("figures")
    other = 1 - epoch["seconds"]["training"] / epoch["total_s"] if epoch else None
    minutes = epoch["epochs"] * epoch["total_s"] / 60 if epoch else None
    row("share of an epoch that is not training", other, OTHER_SHARE, False, "{:.1%}")
    row("minutes of 70 epochs of Market-1501, without evaluation", minutes, RECIPE_MINUTES, False,
        "{:.1f}")  # fmt: skip
    return ["| | measured | target | |", "| --- | --- | --- | --- |", *rows]


def steps(parts: dict[str, Any]) -> list[str]:
    """Return the table of training steps."""
    rows = []
    for key in ("resnet", "vit"):
        figures = (parts.get(key) or {}).get("figures")
        if not figures:
            rows.append(f"| {key}: {absent(parts.get(key))} | | | | |")
            continue
        size = f"{figures['batch']} at {figures['height']} x {figures['width']}"
        for name, way in figures["ways"].items():
            rows.append(
                f"| {figures['backbone']}, {size}, {figures['precision']} | {name} | "
                f"{way['images_per_second']:,.0f} | {way['step_ms']:.1f} ms | "
                f"{gigabytes(way['peak_bytes'])} |"
            )
    head = "| network, batch, precision | way | images per second | a step | peak of the GPU |"
    return [head, "| --- | --- | ---: | ---: | ---: |", *rows]


def epoch_parts(part: dict[str, Any] | None) -> list[str]:
    """Return a sentence on the parts of an epoch."""
    figures = (part or {}).get("figures")
    if not figures:
        return [f"Parts of an epoch: {absent(part)}."]
    listed = ", ".join(f"{name} {value:.2f} s" for name, value in figures["seconds"].items())
    memory = [f"{figures['peak_bytes'] / 1e9:.1f} GB of the process"]
    if figures["gpu_peak_bytes"] is not None:
        memory.append(f"{gigabytes(figures['gpu_peak_bytes'])} of the GPU")
    return [
        f"Parts of an epoch of {figures['images'] or 'the synthetic'} images: {listed}; all "
        f"{figures['total_s']:.2f} s. Peak memory: {' and '.join(memory)}."
    ]


def kernels(part: dict[str, Any] | None) -> list[str]:
    """Return the table of neighbours and graphs."""
    figures = (part or {}).get("figures")
    if not figures:
        return [f"Neighbours and graphs: {absent(part)}."]

    def cell(found: dict[str, Any] | None) -> str:
        if found is None:
            return "not in this build of faiss"
        same = {True: ", same", False: ", **not the same**", None: ""}[found.get("same")]
        memory = f", {gigabytes(found['peak_bytes'])}" if found["peak_bytes"] is not None else ""
        return f"{found['seconds']:.2f} s{same}{memory}"

    columns = ("knn_cpu", "knn_faiss", "knn_torch", "graph_numba", "graph_torch")
    return [
        "| N x D | kNN, CPU | kNN, faiss | kNN, torch | graph, CPU | graph, torch |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['number']:,} x {row['dim']} | "
            + " | ".join(cell(row[name]) for name in columns) + " |"
            for row in figures["rows"]
        ),
    ]  # fmt: skip


def images(part: dict[str, Any] | None) -> list[str]:
    """Return sentences on decoding and augmentation."""
    figures = (part or {}).get("figures")
    if not figures:
        return [f"Decoding and augmentation: {absent(part)}."]
    said = [f"Augmentation: {figures['augmented_per_second']:,.0f} views per second."]
    for kind in ("warm", "cold"):
        for name, found in figures.get(kind, {}).items():
            said.append(f"Decoding by {name}, {kind}: {found['per_second']:,.0f} images per second "
                        f"with {figures['threads']} threads.")  # fmt: skip
    if nvjpeg := figures.get("nvjpeg"):
        said.append(f"nvJPEG: {nvjpeg['per_second']:,.0f} images per second, pixels up to "
                    f"{nvjpeg['largest_gap']} from Pillow's.")  # fmt: skip
    return [" ".join(said)]


def tests(part: dict[str, Any] | None) -> list[str]:
    """Return a sentence on the tests marked gpu."""
    figures = (part or {}).get("figures")
    if not figures:
        return [f"Tests marked `gpu`: {absent(part)}."]
    failed = f" ({', '.join(figures['failed'])})" if figures["failed"] else ""
    return [
        f"Tests marked `gpu`: {figures['passed']} passed, {len(figures['failed'])} failed{failed}, "
        f"{figures['skipped']} skipped."
    ]


def rendered(result: dict[str, Any] | None) -> str:
    """Return the text between the markers."""
    if result is None:
        return NONE
    about, parts = result["machine"], result["parts"]
    name = about["gpu"] or "a dry run on the CPU: these figures say nothing"
    versions = ", ".join(f"{key} {value}" for key, value in about["packages"].items() if value)
    blocks = [
        [f"Measured by `benchmarks/gpu_check/run.sh` on {name}, {about['cores']} cores, Python "
         f"{about['python']}, {versions}."],
        targets(parts), steps(parts), epoch_parts(parts.get("epoch")),
        kernels(parts.get("kernels")), images(parts.get("images")), tests(parts.get("tests")),
    ]  # fmt: skip
    return "\n\n".join("\n".join(block) for block in blocks)


def replaced(page: str, text: str) -> str:
    """Return the page with ``text`` between its markers."""
    start, found, rest = page.partition(BEGIN)
    _, closed, end = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{start}{BEGIN}\n{text}\n{END}{end}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", nargs="?", type=Path, help="gpu_check.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    result = json.loads(options.result.read_text()) if options.result else None
    options.page.write_text(replaced(options.page.read_text(), rendered(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
