"""IDF1 over all cameras: against the definition, and the traps of identities over cameras."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import linear_sum_assignment

from dccc_lightning.metrics import identity_f1, identity_scores
from foreign import foreign_python, run_foreign

NAMES = ("camera", "frame", "identity", "x1", "y1", "x2", "y2")
BOX = (0, 0, 10, 10)


def boxes(*rows):
    """Return a table of (camera, frame, identity) with the same box, or one of one's own."""
    columns = zip(*(row if len(row) == 7 else (*row, *BOX) for row in rows), strict=True)
    return pa.table(dict(zip(NAMES, map(list, columns), strict=True)))


NOTHING = boxes(("a", 0, "1")).slice(0, 0)


def by_definition(truth, predicted):
    """IDF1, IDP, IDR as TrackEval writes them: dense, frame by frame."""
    ids = [{}, {}]
    frames = [{}, {}]
    for side, table in enumerate((truth, predicted)):
        for number, row in enumerate(table.to_pylist()):
            name = ("none", number) if row["identity"] is None else row["identity"]
            code = ids[side].setdefault(name, len(ids[side]))
            box = [row[corner] for corner in NAMES[3:]]
            frames[side].setdefault((row["camera"], row["frame"]), []).append((code, box))
    count = np.zeros((len(ids[0]), len(ids[1])))
    for frame, trues in frames[0].items():
        for true, a in trues:
            for found, b in frames[1].get(frame, ()):
                w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
                h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
                area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
                count[true, found] += area > 0 and w * h / area >= 0.5
    rows, columns = linear_sum_assignment(-count)
    hits = count[rows, columns].sum()
    total = len(truth) + len(predicted)
    return 2 * hits / max(1, total), hits / max(1, len(predicted)), hits / max(1, len(truth))


def random_case(seed):
    """Return true and predicted boxes of up to 3 cameras, 6 frames and 5 people, with faults."""
    rng = np.random.default_rng(seed)
    sides = [], []
    for camera in range(rng.integers(1, 4)):
        for frame in rng.choice(50, rng.integers(1, 7), replace=False):
            for person in rng.choice(5, rng.integers(0, 6), replace=False):
                x, y = rng.integers(0, 12, 2)
                box = [x, y, x + rng.integers(1, 10), y + rng.integers(1, 10)]
                if rng.random() < 0.9:
                    sides[0].append((f"c{camera}", frame, str(person), *box))
                moved = np.add(box, rng.integers(-1, 2, 4) * (rng.random() < 0.5))
                moved[2:] = np.maximum(moved[:2], moved[2:])
                name = f"{person}{'ab'[int(rng.random() < 0.3)]}{camera * (seed % 2)}"
                if rng.random() < 0.9 and (camera or seed % 3):
                    sides[1].append((f"c{camera}", frame, name, *moved))
    return [boxes(*rows) if rows else NOTHING for rows in sides]


def scores(result):
    return result["idf1"], result["idp"], result["idr"]


@pytest.mark.parametrize("block", [identity_scores.PAIRS, 3])
def test_it_is_the_definition(block, monkeypatch):
    monkeypatch.setattr(identity_scores, "PAIRS", block)
    seen = set()
    for seed in range(100):
        truth, predicted = random_case(seed)
        found = identity_f1(truth, predicted)
        assert scores(found) == pytest.approx(by_definition(truth, predicted))
        for name, own in found["per_camera"].items():
            mine = [
                table.filter(pa.compute.equal(table["camera"], name))
                for table in (truth, predicted)
            ]
            assert scores(own) == pytest.approx(by_definition(*mine))
        seen.add(round(found["idf1"], 3))
    assert len(seen) > 50


def test_a_person_with_two_names_is_half_right():
    truth = boxes(("a", 0, "p"), ("b", 0, "p"))
    predicted = boxes(("a", 0, "7"), ("b", 0, "9"))
    found = identity_f1(truth, predicted)
    assert scores(found) == (0.5, 0.5, 0.5)
    assert {name: own["idf1"] for name, own in found["per_camera"].items()} == {"a": 1.0, "b": 1.0}
    assert identity_f1(truth, boxes(("a", 0, "7"), ("b", 0, "7")))["idf1"] == 1.0


def test_one_name_for_two_people_is_half_right():
    truth = boxes(("a", 0, "p"), ("b", 0, "q"))
    assert identity_f1(truth, boxes(("a", 0, "1"), ("b", 0, "1")))["idf1"] == 0.5


def test_a_camera_without_results_is_all_misses():
    truth = boxes(*((camera, frame, "p") for camera in "ab" for frame in range(3)))
    found = identity_f1(truth, truth.slice(0, 3))
    assert scores(found) == (pytest.approx(2 / 3), 1.0, 0.5)
    assert scores(found["per_camera"]["b"]) == (0.0, 0.0, 0.0)
    assert scores(identity_f1(truth, NOTHING)) == (0.0, 0.0, 0.0)
    extra = identity_f1(truth.slice(0, 3), truth)
    assert scores(extra) == (pytest.approx(2 / 3), 0.5, 1.0)
    assert set(extra["per_camera"]) == {"a", "b"}
    assert identity_f1(NOTHING, NOTHING) == {"idf1": 0, "idp": 0, "idr": 0, "per_camera": {}}


@pytest.mark.parametrize("shift", [0, 0.1, 1234.7, -3.3])
def test_an_iou_of_exactly_a_half_matches_wherever_it_lies(shift):
    truth = boxes(("a", 0, "p", *(np.array([0, 0, 10, 10]) + shift)))
    for width, score in ((20, 1.0), (20.01, 0.0), (5, 1.0), (4.99, 0.0)):
        found = boxes(("a", 0, "7", *(np.array([0, 0, width, 10]) + shift)))
        assert identity_f1(truth, found)["idf1"] == score
        assert identity_f1(found, truth)["idf1"] == score


def test_identities_are_text():
    truth = boxes(("a", 0, "p"), ("a", 1, "p"))
    assert identity_f1(truth, boxes(("a", 0, "1"), ("a", 1, "01")))["idf1"] == 0.5
    large = [str(2**53), str(2**53 + 1)]
    assert (
        identity_f1(truth, boxes(*(("a", n, name) for n, name in enumerate(large))))["idf1"] == 0.5
    )
    assert identity_f1(truth, boxes(("a", 0, 1), ("a", 1, 1)))["idf1"] == 1.0
    with pytest.raises(TypeError, match="identity must be text"):
        identity_f1(truth, boxes(("a", 0, 1.0), ("a", 1, 1.0)))


def test_boxes_without_a_track_are_each_their_own():
    truth = boxes(("a", 0, "p"), ("a", 1, "p"), ("a", 2, "p"))
    nobody = boxes(("a", 0, None), ("a", 0, None), ("a", 1, None), ("a", 2, None))
    assert scores(identity_f1(truth, nobody)) == (pytest.approx(2 / 7), 0.25, pytest.approx(1 / 3))
    assert scores(identity_f1(nobody, truth)) == (pytest.approx(2 / 7), pytest.approx(1 / 3), 0.25)
    assert identity_f1(truth, boxes(*(("a", n, "-1") for n in range(3))))["idf1"] == 1.0


def test_an_identity_twice_in_a_frame_is_refused_on_both_sides():
    good = boxes(("a", 3, "p"), ("b", 3, "p"), ("a", 4, "p"))
    twice = boxes(("a", 3, "p"), ("b", 3, "q"), ("a", 3, "p", 50, 0, 60, 10))
    for name, sides in (("truth", (twice, good)), ("predicted", (good, twice))):
        with pytest.raises(ValueError, match=f"{name}: identity 'p' has two .* 'a', frame 3"):
            identity_f1(*sides)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda t: t.drop_columns(["y2", "frame"]), ValueError, "lacks the columns frame, y2"),
        (lambda t: t.to_pydict(), TypeError, r"pyarrow\.Table, got dict"),
        (lambda t: boxes(("a", 0, "1", 0, 0, 1, float("nan"))), ValueError, "row 0"),
        (lambda t: boxes(("a", 0, "1"), ("a", 1, "1", 5, 0, 4, 1)), ValueError, "row 1"),
        (lambda t: boxes((None, 0, "1")), ValueError, "camera has 1 nulls"),
        (lambda t: boxes(("a", None, "1"), ("a", 0, "1")), ValueError, "frame has 1 nulls"),
        (lambda t: boxes(("a", 0.5, "1")), TypeError, "frame must be int64"),
        (lambda t: boxes(("a", 0, "1", "x", 0, 1, 1)), TypeError, "x1 must be double"),
    ],
)
def test_bad_tables_are_refused_by_name(change, error, said):
    good = boxes(("a", 0, "1"))
    for name, sides in (("truth", (change(good), good)), ("predicted", (good, change(good)))):
        with pytest.raises(error, match=f"{name}.*{said}") as caught:
            identity_f1(*sides)
        assert "\n" not in str(caught.value)


def test_the_order_of_rows_and_cameras_does_not_matter():
    rng = np.random.default_rng(0)
    truth, predicted = random_case(5)
    expected = identity_f1(truth, predicted)
    shuffled = [table.take(rng.permutation(len(table))) for table in (truth, predicted)]
    assert identity_f1(*shuffled) == expected
    parts = pa.concat_tables([truth.slice(3), truth.slice(0, 3)])  # several chunks
    assert identity_f1(parts, predicted) == expected


TRACKEVAL = """
import json, sys
import numpy as np
from trackeval.datasets._base_dataset import _BaseDataset
from trackeval.metrics import Identity
metric, results = Identity({"PRINT_CONFIG": False}), []
for truth, predicted in json.load(sys.stdin):
    frames = sorted({tuple(row[:2]) for row in truth + predicted})  # cameras one after another
    data = {"num_gt_dets": len(truth), "num_tracker_dets": len(predicted)}
    scores = {frame: [] for frame in frames}
    for kind, rows in (("gt", truth), ("tracker", predicted)):
        names = sorted({row[2] for row in rows})
        data[f"num_{kind}_ids"] = len(names)
        own = {frame: [row for row in rows if tuple(row[:2]) == frame] for frame in frames}
        data[f"{kind}_ids"] = [
            np.array([names.index(row[2]) for row in own[frame]], int) for frame in frames]
        for frame in frames:
            scores[frame].append(np.array([row[3:] for row in own[frame]], float).reshape(-1, 4))
    data["similarity_scores"] = [
        _BaseDataset._calculate_box_ious(*scores[frame], box_format="x0y0x1y1") for frame in frames]
    result = metric.eval_sequence(data)
    results.append([float(result[name]) for name in ("IDF1", "IDP", "IDR")])
print("\\n" + json.dumps(results))
"""


@pytest.mark.slow
def test_it_is_trackeval_on_the_frames_of_all_cameras(made_once):
    python = foreign_python(made_once, "trackeval==1.3.0")
    cases = [random_case(seed) for seed in range(1000, 1300)]
    given = [[list(map(list, zip(*t.to_pydict().values(), strict=True))) for t in c] for c in cases]
    theirs = json.loads(run_foreign(python, TRACKEVAL, given=json.dumps(given)).splitlines()[-1])
    for case, expected in zip(cases, theirs, strict=True):
        assert scores(identity_f1(*case)) == pytest.approx(expected, abs=1e-12)
