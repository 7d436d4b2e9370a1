"""Every kind of page in a browser: wide and on a phone, light and dark, by keyboard.

The map, which draws with WebGL, has tests of its own: test_map_page.py.
"""

import html
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, chromium
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.reports.cluster_page import cluster_page
from dccc_lightning.reports.cluster_table import cluster_table
from dccc_lightning.reports.figures.chart import PALETTE
from dccc_lightning.reports.identity_page import identity_page
from dccc_lightning.reports.run_page import write_report
from dccc_lightning.tasks.compare import compare
from dccc_lightning.tasks.report import report as report_sweep
from dccc_lightning.tasks.runs import runs
from test_compare import write_run as write_compared
from test_identities import table_of
from test_panels import all_panels
from test_panels import report as run_report
from test_review import page_of
from test_runs import write_run
from test_sweep_report import write_job


def run_page(folder: Path) -> Path:
    choices = [{"epoch": e, "eps": 0.5, "criterion": "knee", "candidates": [0.4, 0.5, 0.6],
                "scores": [0.1, 0.3, 0.2]} for e in range(3)]  # fmt: skip
    report = run_report(
        all_panels(), choices=choices, title="a data set with a long name_" * 3,
        differences=[("clustering.min_samples", "4", "8"), ("dataset.root", "/", "x" * 90)],
        environment={"code": "0.1", "GPUs": "none"}, all_clusters=[(n, 20 - n) for n in range(20)],
    )  # fmt: skip
    write_report(folder / "report.html", report)
    return folder / "report.html"


def clusters_page(folder: Path) -> Path:
    paths = [folder / f"camera {n % 3}" / f"{n:04d}_{'long' * n}.jpg" for n in range(30)]
    records = Records.from_rows([(path, -1, n % 3) for n, path in enumerate(paths)])
    labels = np.arange(30) % 5 - 1
    features = np.random.default_rng(0).normal(size=(30, 8))
    splits = Splits("mine", folder, records, Records.from_rows([]), Records.from_rows([]))
    table = cluster_table(splits, labels, cluster_margins(labels, features))
    (folder / "clusters.html").write_text(cluster_page(table, "mine: clusters of a run"))
    return folder / "clusters.html"


def identities_page(folder: Path) -> Path:
    paths = [folder / f"{n}{'_long' * n}.png" for n in range(9)]
    for n, path in enumerate(paths):
        Image.new("RGB", (40 + 20 * n, 100), (20 * n, 90, 160)).save(path)
    table = table_of(list(map(str, paths)), [f"id000{n // 3}" for n in range(9)])
    (folder / "identities.html").write_text(identity_page(table, "identities of a shop"))
    return folder / "identities.html"


def review_page(folder: Path) -> Path:
    rows = np.repeat(np.eye(8)[:4], 4, axis=0)
    rows[7] = [0, 1, 0.9, 0, 0, 0, 0, 0]
    rows += 0.05 * np.random.default_rng(1).random(rows.shape)
    return page_of(folder, rows, np.repeat(np.arange(4), 4))[0]


def runs_page(folder: Path) -> Path:
    for n in range(3):
        write_run(folder / "grid" / str(n), [f"seed={n}", "clustering.k1=20"], 40.0 + n)
    (folder / "grid" / "multirun.yaml").touch()
    write_run(folder / "one" / ("a_long_name" * 5), ["experiment=dccc_plus"], 50.0)
    write_run(folder / "failed", error="ValueError: " + "a long reason, " * 20)
    runs({"folder": folder}, folder / "o")
    return folder / "runs.html"


def compared_page(folder: Path) -> Path:
    for n in range(12):
        for kind in ("query", "gallery"):
            (folder / "x" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 80), (20 * n, 90, 0)).save(folder / "x" / kind / f"{n}.jpg")
    random = np.random.default_rng(0)
    made = [
        write_compared(folder / (name * 20), random.random(12), [0, 0, 1, 1], folder / "x")
        for name in ("first_", "second")
    ]
    compare({"runs": made}, folder / "o")
    return folder / "o" / "compare.html"


def sweep_page(folder: Path) -> Path:
    grid = itertools.product(("fixed", "exponential"), ("0.4", "0.5", "0.6"), ("10", "20"), "123")
    for number, (kind, start, k1, seed) in enumerate(grid):
        score = 40 + 30 * float(start) + 3 * (kind == "fixed") + int(seed) * (k1 == "10")
        given = [f"scheduler={kind}", f"scheduler.start={start}", f"clustering.k1={k1}"]
        write_job(folder / "sweep" / str(number), [*given, f"seed={seed}"], score, epochs=6, of=6)
    write_job(folder / "sweep" / "99", ["scheduler=fixed"], error="ValueError: a reason " * 9)
    report_sweep({"sweep_folder": folder / "sweep"}, folder / "o")
    return folder / "o" / "report.html"


PAGES = {
    "run": run_page, "clusters": clusters_page, "identities": identities_page,
    "review": review_page, "runs": runs_page, "compare": compared_page, "sweep": sweep_page,
}  # fmt: skip

PROBE = """<body>WINDOWS<script>
const visible = { visibilityProperty: true, opacityProperty: true };
const seen = (element) => element.checkVisibility(visible) &&
  element.getBoundingClientRect().width > 0;
const name = (element) => element.outerHTML.slice(0, 120);
const rgb = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((value) => value / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
function look(frame) {
  const page = frame.document, root = page.documentElement, bad = [];
  if (root.scrollWidth > root.clientWidth) bad.push(`wide: ${root.scrollWidth}`);
  for (const details of page.querySelectorAll("details")) details.open = true;
  for (const element of page.body.querySelectorAll("*")) {
    if (!seen(element) || element.closest("svg")) continue;
    const style = frame.getComputedStyle(element);
    const isScroller = /auto|scroll/.test(style.overflowX);
    const isCut = /hidden|clip/.test(style.overflowX);
    if (element.scrollWidth > element.clientWidth + 1 && isCut && !element.title &&
        style.textOverflow !== "ellipsis") bad.push(`cut off: ${name(element)}`);
    if (isScroller && element.scrollWidth > element.clientWidth + 1) {
      element.focus();
      const inner = element.querySelector("a, button, input, [tabindex]");
      if (page.activeElement !== element && !inner) bad.push(`no keyboard: ${name(element)}`);
    }
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (own && !element.closest("[disabled], script, style, noscript")) {
      let behind = element;
      while (behind && (rgb(frame.getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0)
        behind = behind.parentElement;
      const [a, b] = [rgb(style.color), rgb(frame.getComputedStyle(behind ?? root).backgroundColor)]
        .map(light).sort((x, y) => y - x);
      if ((a + 0.05) / (b + 0.05) < 3) bad.push(`faint: ${name(element)}`);
    }
  }
  for (const text of page.querySelectorAll("svg text")) {
    const [inner, outer] = [text, text.closest("svg")].map((e) => e.getBoundingClientRect());
    if (inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1 ||
        inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1))
      bad.push(`cut off in ${outer.width.toFixed()}: ${text.textContent}`);
  }
  for (const one of page.querySelectorAll("a, button, summary, input, .chart svg:has(.tip)")) {
    if (!seen(one) || one.disabled) continue;
    one.focus();
    if (page.activeElement !== one) bad.push(`not reached: ${name(one)}`);
  }
  const chart = page.querySelector(".chart svg:has(.tip)");
  if (chart) {
    chart.focus();
    chart.dispatchEvent(new frame.KeyboardEvent("keydown", { key: "ArrowRight" }));
    const tip = chart.closest(".card").querySelector(".value");
    if (tip.hidden || !tip.textContent) bad.push("no value of the first mark");
    const [inner, outer] = [tip, chart.closest(".card")].map((e) => e.getBoundingClientRect());
    if (inner.left < outer.left || inner.right > outer.right) bad.push("a value is cut off");
  }
  return { bad, back: frame.getComputedStyle(page.body).backgroundColor };
}
onload = () => {
  document.body.dataset.found = JSON.stringify(
    Array.from({ length: frames.length }, (_, n) => look(frames[n])));
};
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_whole_in_a_window_and_on_a_phone(kind, theme, tmp_path):
    page = PAGES[kind](tmp_path)
    windows = "".join(
        f'<iframe src="{page.as_uri()}" style="width:{width}px;height:900px;border:0"></iframe>'
        for width in (1280, 390)
    )
    (tmp_path / "probe.html").write_text(PROBE.replace("WINDOWS", windows))
    colours = f"--blink-settings=preferredColorScheme={['dark', 'light'].index(theme)}"
    flags = ("--allow-file-access-from-files", colours, "--window-size=1800,1000")
    dom, complaints = chromium(tmp_path, tmp_path / "probe.html", *flags)
    assert complaints == []
    back = PALETTE["page"][theme == "dark"]
    expected = f"rgb({', '.join(str(int(back[n : n + 2], 16)) for n in (1, 3, 5))})"
    found = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', dom)[1]))
    assert found == [{"bad": [], "back": expected}] * 2
