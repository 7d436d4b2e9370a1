"""Table of the public datasets for docs/datasets.md, from the files of conf/dataset/.

``python docs/hooks/dataset_table.py`` prints it; a test compares it with the page.
"""

from pathlib import Path
from typing import Any

import yaml

from dccc_lightning.data.datasets.declared_layout import DeclaredLayout
from dccc_lightning.data.datasets.official_counts import Facts, Unverified

CONF = Path(__file__).parents[2] / "conf" / "dataset"
HEADER = (
    "| option | folder and names | images: train / query / gallery | identities, cameras "
    "| protocol | remarks; source |\n| --- | --- | --- | --- | --- | --- |\n"
)


def layouts() -> dict[str, tuple[dict[str, Any], DeclaredLayout]]:
    """Return the settings and the dataset of each file that declares a layout."""
    found = {}
    for path in sorted(CONF.glob("*.yaml")):
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))["dataset"]
        if "folders" in settings:
            own = {k: v for k, v in settings.items() if k not in ("_target_", "on_error", "cache")}
            found[path.stem] = settings, DeclaredLayout(**{**own, "root": "."})
    return found


def render() -> str:
    """Return the table as Markdown."""
    return HEADER + "".join(row(name, *found) for name, found in layouts().items())


def row(name: str, settings: dict[str, Any], dataset: DeclaredLayout) -> str:
    """Return the row of a dataset."""
    chosen = dataset.layouts[dataset.variant or next(iter(dataset.layouts))]
    example = next(s.line_example or s.example for ss in chosen.sources.values() for s in ss)
    text = f"{settings['folders'][0]}/{chosen.home + '/' if chosen.home else ''}{chosen.text}"
    layout = text if example in text else f"{text}, {example}"
    variants = [key for key in dataset.layouts if key]
    if variants:
        listed = ", ".join(variants) if len(variants) < 5 else f"{variants[0]} to {variants[-1]}"
        layout += f"` (`dataset.variant`: {listed})`"
    several = {key: other.facts for key, other in dataset.layouts.items()}
    if len(set(several.values())) == 1:
        several = {"": chosen.facts}
    images = "; ".join(f"{key} {images_of(facts)}".strip() for key, facts in several.items())
    people = "; ".join(f"{key} {people_of(facts)}".strip() for key, facts in several.items())
    protocols = ", ".join(dict.fromkeys(other.protocol for other in dataset.layouts.values()))
    cells = [
        f"`dataset={name}`", f"`{layout}`".replace("``", ""), images, people, protocols,
        f"{dataset.remark}; {dataset.source}",
    ]  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def images_of(facts: Facts) -> str:
    """Return the official numbers of images."""
    parts = [facts.train.images, facts.query.images, facts.gallery.images]
    if any(part is not None for part in parts):
        return " / ".join(map(count, parts))
    return f"{count(facts.total.images)} in all" if facts.total.images else ""


def people_of(facts: Facts) -> str:
    """Return the official numbers of identities and cameras."""
    parts = [facts.train.identities, facts.query.identities]
    words = []
    if any(part is not None for part in parts):
        words.append(" / ".join(map(count, parts)))
    elif facts.total.identities:
        words.append(f"{count(facts.total.identities)} in all")
    if facts.total.cameras:
        words.append(f"{count(facts.total.cameras)} cameras")
    return ", ".join(words)


def count(number: int | None) -> str:
    """Return a count, with a question mark if unverified or unknown."""
    if number is None:
        return "?"
    return f"{number:,}{'?' if isinstance(number, Unverified) else ''}"


if __name__ == "__main__":
    print(render(), end="")
