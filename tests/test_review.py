"""The page of questions: which are asked, beside a plain original, and answers in a browser."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, chromium, downloaded
from dccc_lightning.clustering.constraint_file import constraints_of, decisions_of, read_rows
from dccc_lightning.clustering.constraints import Constraints, Links
from dccc_lightning.data.records import Records
from dccc_lightning.identities.identity_table import identity_table
from dccc_lightning.identities.suggestions import doubts, suggestions
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports.review_page import review_page

NONE = Links.of([])


def world(seed, people=7, images=6):
    """Embeddings of people and labels with mistakes, in an order of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(people), images))
    centres = rng.normal(size=(people, 12))
    rows = centres[labels] + 0.6 * rng.normal(size=(len(labels), 12))
    return UnitEmbeddings.of(rows.astype(np.float32)), labels.astype(np.int64)


def centred(unit, cameras):
    """Subtract the mean of each image's camera."""
    rows = unit.rows.astype(np.float64)
    rows = np.array([row - rows[cameras == own].mean(0) for row, own in
                     zip(rows, cameras, strict=True)])  # fmt: skip
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plainly(rows, labels, constraints, frames):
    """Return merges and splits as pairs of first images, by loops over everything."""
    groups = constraints.groups
    people = range(labels.max() + 1)
    centres = [rows[labels == p].sum(0) / np.linalg.norm(rows[labels == p].sum(0)) for p in people]
    typical = [max(np.flatnonzero(labels == p), key=lambda i: rows[i] @ centres[labels[i]])
               for p in people]  # fmt: skip
    apart = {frozenset((labels[a], labels[b])) for a, b in zip(*constraints.apart, strict=True)}
    near = {}
    for a in people:
        others = sorted((p for p in people if p != a), key=lambda p: -(centres[a] @ centres[p]))
        near |= {frozenset((a, b)): centres[a] @ centres[b] for b in others[:3]}
    pairs = [sorted(pair) for pair in sorted(near, key=lambda pair: -near[pair])
              if pair not in apart]  # fmt: skip
    merges = []
    for pair in pairs:
        if not any(set(pair) & set(before) for before in merges):
            merges.append(pair)
    margin = [
        rows[i] @ centres[labels[i]] - max(rows[i] @ centres[p] for p in people if p != labels[i])
        for i in range(len(labels))
    ]
    impossible, doubtful = [], []
    for p in people:
        own = sorted(np.flatnonzero(labels == p), key=lambda i: margin[i])
        clash = [i for i in own if any(
            frames[i] is not None and frames[i] == frames[j] and groups[i] != groups[j]
            for j in own if j != i)]  # fmt: skip
        free = [i for i in own if groups[i] != groups[typical[p]]]
        if clash:
            impossible.append(clash[0])
        elif free:
            doubtful.append(free[0])
    splits = [*sorted(impossible, key=lambda i: margin[i]),
              *sorted(doubtful, key=lambda i: margin[i])]  # fmt: skip
    return [(typical[a], typical[b]) for a, b in merges], splits


@pytest.mark.parametrize("seed", range(4))
def test_the_questions_are_those_of_a_plain_original(seed):
    unit, labels = world(seed)
    own = [np.flatnonzero(labels == p) for p in range(7)]
    whole = [(own[0][0], image, "") for image in own[0][1:]]
    same = Links.of([*whole, (own[1][0], own[1][3], "")])
    different = Links.of([(own[2][0], own[3][1], "")])
    constraints = Constraints.of(range(len(labels)), same, different)
    cameras = np.arange(len(labels)) % 2
    rows = centred(unit, cameras)
    moments = [None] * len(labels)
    two = [image for image in own[4] if cameras[image] == cameras[own[4][0]]][:2]
    for image in two:
        moments[image] = (None, "17")
    found = suggestions(unit, labels, constraints, cameras, moments)
    merges, splits = plainly(rows, labels, constraints, moments)
    asked = {kind: [q for q in found.questions if q.kind == kind] for kind in ("merge", "split")}
    assert [(q.first[0], q.second[0]) for q in asked["merge"]] == merges
    assert [q.first[0] for q in asked["split"]] == splits
    assert {labels[q.first[0]] for q in asked["split"]} == {1, 2, 3, 4, 5, 6}
    assert set(two) == {asked["split"][0].first[0], asked["split"][0].second[0]}
    for question in found.questions:
        shown = constraints.groups[question.first + question.second]
        assert len(shown) == len(set(shown))  # one image of those that are known to be the same
        assert max(len(question.first), len(question.second)) <= 6
    for question in asked["split"]:
        assert len(set(labels[question.first + question.second])) == 1
        one, other = rows[question.first[0]], rows[question.second[0]]
        assert all(rows[i] @ one > rows[i] @ other for i in question.first)
        near = {constraints.groups[i] for i in question.second} if len(question.second) < 6 else ()
        assert all(constraints.groups[i] in near or rows[i] @ one <= rows[i] @ other
                   for i in question.second)  # fmt: skip
    few = suggestions(unit, labels, constraints, cameras, moments, most=2)
    assert [q.kind for q in few.questions] == ["merge"] * 2 + ["split"] * 2
    assert few.left_out - found.left_out == len(found.questions) - 4


def test_one_identity_and_single_images_are_no_error():
    unit, labels = world(0)
    for labels in (np.zeros(42, dtype=np.int64), np.arange(42)):
        margins = cluster_margins(labels, unit)
        constraints = Constraints.of(range(42), NONE, NONE)
        found = suggestions(unit, labels, constraints, labels, [None] * 42)
        kinds = {question.kind for question in found.questions}
        assert kinds == ({"merge"} if labels.any() else {"split"})
        assert len(doubts(labels, margins, labels, [None] * 42)) == labels.max() + 1


def test_doubt_is_a_low_margin_two_in_one_frame_or_cameras_at_once():
    rows = np.eye(4)[[0, 0, 1, 1, 2, 2, 3, 3]] + 0.01
    rows[1, 1] = 0.9  # a low margin
    labels = np.repeat(np.arange(4), 2)
    cameras = np.array([0, 0, 0, 0, 0, 1, 0, 1])
    moments = [None, None, "1", "1", "1", "1", "1", "2"]
    margins = cluster_margins(labels, rows)
    assert doubts(labels, margins, cameras, moments).tolist() == [1, 0, 2, 3]
    assert doubts(labels, margins, cameras, [None] * 8).tolist()[0] == 0


def page_of(folder, rows, labels, earlier=()):
    """Write the page of images of one colour per person; return it and the paths."""
    rng = np.random.default_rng(0)
    colours = rng.integers(30, 225, (len(labels), 3))
    paths = [str(folder / f'{n:02d} "{n % 3}",ü.png') for n in range(len(labels))]
    for path, label in zip(paths[1:], labels[1:], strict=True):  # the first is missing
        Image.new("RGB", (40, 100), tuple(colours[label].tolist())).save(path)
    unit = UnitEmbeddings.of(rows.astype(np.float32))
    margins = cluster_margins(labels, unit)
    unknown = [None] * len(labels)
    identities = [f"id{label}" for label in labels]
    table = identity_table(
        paths, {}, identities, {"id0": "</script>"}, margins, identities, unknown
    )
    pairs = Links.of([(a, b, "") for a, what, b in earlier if what == "same"])
    constraints = Constraints.of(paths, pairs, NONE)
    found = suggestions(unit, labels, constraints, np.full(len(labels), -1), unknown)
    order = [int(np.flatnonzero(labels == own)[0]) for own in range(labels.max() + 1)]
    page = review_page(table, "review", "task=identify", found, order, constraints, earlier)
    (folder / "review.html").write_text(page)
    return folder / "review.html", paths, found.questions


def test_the_page_holds_its_images_and_data(tmp_path):
    rows = np.repeat(np.eye(8)[:3], 4, axis=0) + 0.05 * np.random.default_rng(1).random((12, 8))
    path, paths, _ = page_of(tmp_path, rows, np.repeat(np.arange(3), 4))
    page = path.read_text()
    assert page.count("</script>") == 2
    data = json.loads(page.split('id="review-data">')[1].split("</script>")[0])
    assert {image["path"] for image in data["images"].values()} == set(paths)
    pictures = [image["picture"] for image in data["images"].values()]
    assert pictures.count("") == 1
    assert all(picture[:23] == "data:image/jpeg;base64," for picture in pictures if picture)


class Body(HTMLParser):
    """Reader of the data attributes of <body>."""

    def handle_starttag(self, tag, attrs):
        if tag == "body":
            self.data = dict(attrs)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_merge_a_split_and_a_name_are_saved_and_read_back(tmp_path):
    rows = np.repeat(np.eye(8)[[0, 1, 2, 3]], 4, axis=0)
    rows[7] = [0, 1, 0.9, 0, 0, 0, 0, 0]  # of identity 1, between 1 and 2
    rows += 0.05 * np.random.default_rng(1).random(rows.shape)
    labels = np.repeat(np.arange(4), 4)
    earlier = [(12, "same", 13), (12, "name", "old"), (0, "name", 'A "first" name')]
    path, paths, questions = page_of(tmp_path, rows, labels, earlier)
    merge, split = questions[0], next(q for q in questions if q.kind == "split")
    skipped = questions.index(split) - 1
    assert (merge.kind, split.kind, split.first) == ("merge", "split", [7])
    digit = [*merge.first[1:], *merge.second[1:]].index(7) + 1
    probe = """<script>
      const press = (key, at = document.body) =>
        at.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
      const type = (text) => { const field = document.activeElement;
        field.value = text; field.dispatchEvent(new Event("change")); field.blur(); };
      const state = () => document.getElementById("state").textContent;
      document.body.dataset.missing = document.querySelectorAll(".missing").length;
      press("s");                    // merge: all, image 7 too
      for (let n = 0; n < SKIPPED; n++) press("k");
      press("d");                    // split: not image 7 after that
      document.body.dataset.clash = state();
      for (let n = 0; n <= SKIPPED; n++) press("u");
      press("d"); press("u");        // an answer, taken back
      press("DIGIT"); press("s");    // merge: all but image 7
      for (let n = 0; n < SKIPPED; n++) press("k");
      press("n"); type("Ann, \\u00fc"); // the name of the identity of the question that is shown
      press("d");                    // split
      press("n"); type("wrong"); press("u");
      press("k");                    // skipped
      document.body.dataset.state = state();
      HTMLAnchorElement.prototype.click = function () {
        document.body.dataset.file = this.download; };
      URL.createObjectURL = (blob) => {
        blob.text().then((text) => { document.body.dataset.saved = text; }); return "#"; };
      press("Enter");
      document.body.dataset.after = state();
      document.body.dataset.wide = document.documentElement.scrollWidth > window.innerWidth;
    </script></body>"""
    for word, number in (("DIGIT", digit), ("SKIPPED", skipped)):
        probe = probe.replace(word, str(number))
    path.write_text(path.read_text().replace("</body>", probe))
    dom, complaints = chromium(tmp_path, path)
    assert complaints == []
    body = Body()
    body.feed(dom)
    read = body.data
    assert read["data-clash"].startswith("That contradicts an earlier decision")
    assert read["data-missing"] != "0"
    assert read["data-state"].endswith("2 answered, 3 names, not saved yet")
    assert read["data-after"].endswith("2 answered, 3 names, saved")
    assert (read["data-wide"], read["data-file"]) == ("false", "decisions.csv")
    file = tmp_path / "decisions.csv"
    file.write_text(read["data-saved"], encoding="utf-8")
    decisions = decisions_of(read_rows(file), paths)
    assert decisions.absent == 0
    records = Records.from_rows([(Path(image), 0, 0) for image in paths])
    known = constraints_of(str(file), records)
    assert known.groups[12:14].tolist() == [12, 12]
    lead = merge.first[0]
    kept = {image for image in merge.first[1:] + merge.second if image != 7}
    same = set(zip(decisions.same.first.tolist(), decisions.same.second.tolist(), strict=True))
    assert same == {
        (12, 13), *((lead, image) for image in kept),
        *((split.second[0], image) for image in split.second[1:]),
    }  # fmt: skip
    apart = decisions.different
    different = zip(apart.first.tolist(), apart.second.tolist(), strict=True)
    assert set(different) == {(lead, 7), (7, split.second[0])}
    names = {"old", 'A "first" name', "Ann, ü"}
    assert set(decisions.names.values()) == names
    assert decisions.names[split.second[0]] == "Ann, ü"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_browser_saves_a_file_that_a_training_takes(tmp_path):
    rows = np.repeat(np.eye(8)[:3], 4, axis=0) + 0.05 * np.random.default_rng(1).random((12, 8))
    path, paths, questions = page_of(tmp_path, rows, np.repeat(np.arange(3), 4))
    script = """for (const key of ["s", "Enter"]) document.body.dispatchEvent(
        new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));"""
    file = downloaded(tmp_path, path, script, "decisions.csv")
    merge = questions[0]
    records = Records.from_rows([(Path(image), 0, 0) for image in paths])
    groups = constraints_of(str(file), records).groups
    assert len({int(groups[image]) for image in (*merge.first, *merge.second)}) == 1
    assert decisions_of(read_rows(file), paths).absent == 0
