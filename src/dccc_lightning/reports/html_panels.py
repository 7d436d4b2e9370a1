"""The panels of a run as parts of a page."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dccc_lightning.reports import charts, svg
from dccc_lightning.reports.boards.thumbnails import Thumbnails
from dccc_lightning.reports.panels import Panel, encoded

_STYLES = {name: f"s{number}" for number, name in enumerate(charts.FLOWS)} | {
    "joined": "s2", "left": "s3", "out": "s4",
}  # fmt: skip


def boards(panels: Mapping[str, Panel], names: Sequence[str]) -> str:
    """Return the boards among ``names`` that there are; all but the first are folded."""
    found = [panels[name] for name in names if name in panels]
    if not found or "thumbnails/boards" not in panels:
        return ""
    thumbnails = Thumbnails.cut(panels["thumbnails/boards"])
    return "".join(
        _board(panel, thumbnails, is_open=number == 0) for number, panel in enumerate(found)
    )


def interactive_map(panels: Mapping[str, Panel]) -> str:
    """Return the map: its data as JSON, the thumbnails as one picture, a canvas for the script."""
    if "map" not in panels or "thumbnails/map" not in panels:
        return ""
    panel, thumbnails = panels["map"], panels["thumbnails/map"]
    assert panel.data is not None
    assert thumbnails.data is not None
    assert thumbnails.image is not None
    width, height = thumbnails.data["size"]
    data = {k: v for k, v in panel.data.items() if k != "keys"} | {
        "size": [width, height],
        "columns": thumbnails.image.width // width,
    }
    colourings = [name for name in ("cluster", "identity", "camera") if name in data]
    buttons = "".join(
        f'<button type="button" data-by="{name}" aria-pressed="{str(name == "cluster").lower()}">'
        f"by {name}</button>"
        for name in colourings
    )
    total, shown = panel.data["images"], len(panel.data["points"])
    which = f"{shown:,} of {total:,} training images" if shown < total else f"{total:,} images"
    return (
        f'<div class="card"><div class="choice">{buttons}</div><div class="mapbox">'
        '<canvas id="map-canvas" role="img" aria-label="map of the embeddings"></canvas>'
        f'<div id="tip"></div></div><p class="dim">t-SNE of {which}; grey: outliers. Point at or '
        "tap an image to see it and its group.</p>"
        f'<img id="map-thumbnails" alt="" hidden src="{_source(thumbnails)}">'
        f'<script type="application/json" id="map-data">{_json(data)}</script></div>'
    )


def distances(panel: Panel) -> str:
    """Return a histogram of pairs by cluster, and by identity where there are any."""
    assert panel.data is not None
    data, cards = panel.data, []
    for group, one in (("clusters", "cluster"), ("identities", "identity")):
        if group not in data:
            continue
        counts = data[group]
        chart = svg.histogram(
            data["edges"],
            {f"two {group}": counts["between"], f"one {one}": counts["within"]},
            (data["eps"], f"eps {data['eps']:.3f}"),
            f"pairs of images by distance, {group}",
            "Jaccard distance",
        )
        beyond = ", ".join(
            f"{counts[f'{kind}_beyond'] / max(total, 1):.1%} of the pairs {name}"
            for kind, name in (("within", f"in one {one}"), ("between", f"in two {group}"))
            if (total := counts[f"{kind}_beyond"] + sum(counts[kind]))
        )
        note = f"Pairs, logarithmic. Beyond {data['edges'][-1]:g}: {beyond}."
        cards.append(chart_card(f"One {one} against two", chart, [f"two {group}", f"one {one}"],
                                note))  # fmt: skip
    return "".join(cards)


def sizes(panel: Panel) -> str:
    """Return the sizes of the clusters, the largest first."""
    assert panel.data is not None
    values, outliers = panel.data["sizes"], panel.data["outliers"]
    chart = svg.bars(values, "images of each cluster", "clusters, the largest first")
    note = f"{len(values):,} clusters, {sum(values):,} images in them, {outliers:,} outliers."
    return chart_card("Cluster sizes, images", chart, [], note)


def flow(panel: Panel) -> str:
    """Return what became of the images of the last epoch."""
    data = panel.data
    assert data is not None
    spans = [
        (band["from"], band["to"], _STYLES[band["name"]], f"{band['name']}: {band['count']:,}")
        for band in charts.flow_bands(data)
    ]
    labels = [(label["side"], label["y"], label["text"]) for label in charts.flow_labels(data)]
    note = f"Clusters that came together: {data['merged']}; that fell apart: {data['split']}."
    chart = svg.bands(spans, labels, "label flow")
    return chart_card("From the last epoch's labels to these", chart, [], note)


def chart_card(title: str, chart: str, names: Sequence[str], note: str = "") -> str:
    """Frame a chart; ``names`` of several series make a legend."""
    legend = "".join(
        f'<span><i class="s{n}"></i>{escape(name)}</span>' for n, name in enumerate(names)
    )
    legend = f'<div class="key">{legend}</div>' if len(names) > 1 else ""
    note = f'<p class="dim">{escape(note)}</p>' if note else ""
    return f'<div class="card"><h3>{escape(title)}</h3>{chart}{legend}{note}</div>'


def _board(panel: Panel, thumbnails: Thumbnails, is_open: bool) -> str:
    assert panel.data is not None
    rows = []
    for row in panel.data["rows"]:
        tiles = "".join(_tile(tile, thumbnails) for tile in row["tiles"])
        rows.append(
            f'<div class="row">{escape(row["title"])}<div class="tiles">{tiles}</div></div>'
        )
    title = panel.title[:1].upper() + panel.title[1:]
    return (
        f'<details class="card board" id="{escape(panel.name)}"{" open" if is_open else ""}>'
        f'<summary>{escape(title)}</summary><p class="dim">{escape(panel.data["note"])}</p>'
        f"{''.join(rows)}</details>"
    )


def _tile(tile: Mapping[str, str], thumbnails: Thumbnails) -> str:
    source = (
        f"data:image/jpeg;base64,{b64encode(encoded(thumbnails[tile['key']], '.jpg')).decode()}"
    )
    width, height = thumbnails.size
    return (
        f'<figure class="{escape(tile["frame"])}"><img loading="lazy" width="{width}" '
        f'height="{height}" alt="{escape(tile["key"])}" src="{source}">'
        f"<figcaption>{escape(tile['caption'])}</figcaption></figure>"
    )


def _source(panel: Panel) -> str:
    assert panel.image is not None
    return f"data:image/jpeg;base64,{b64encode(encoded(panel.image, '.jpg')).decode()}"


def _json(data: Any) -> str:
    """Return JSON that nothing within it can end early."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
