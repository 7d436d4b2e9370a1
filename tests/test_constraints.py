"""Constraints of a clustering: tracklets, decisions, contradictions, beside a plain original."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from dccc_lightning.clustering.constrained import constrained
from dccc_lightning.clustering.constraint_file import constraints_of, decisions_of, read_rows
from dccc_lightning.clustering.constraints import Constraints, Links
from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.jaccard import NeighborGraph
from dccc_lightning.clustering.pseudo_labels import NoClustersError, PseudoLabeler
from dccc_lightning.clustering.tracklets import tracklet_links
from dccc_lightning.data.records import Records
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.callbacks.recluster import Recluster


def plainly(labels, distances, largest, same, different):
    """Merge clusters that share an individual; divide those with two, edge by edge."""
    n = len(labels)
    part = [{i} for i in range(n)]

    def unite(sets, a, b):
        if sets[a] is not sets[b]:
            whole = sets[a] | sets[b]
            for i in whole:
                sets[i] = whole

    for a, b in same:
        unite(part, a, b)
    groups = [set(own) for own in part]
    groups = [next(g for g in groups if i in g) for i in range(n)]
    for a in range(n):
        for b in range(n):
            if labels[a] == labels[b] >= 0:
                unite(part, a, b)
    clusters = {frozenset(own) for own in part}
    changed = {i for i in range(n) if labels[i] < 0}
    result = []
    for cluster in clusters:
        if not any(a in cluster and b in cluster for a, b in different):
            result.append(cluster)
            continue
        changed |= cluster
        pieces = list(range(n))
        pieces = [set(groups[i]) for i in pieces]
        for i in range(n):
            for j in groups[i]:
                pieces[j] = pieces[i]
        edges = [(distances[i, j], i, j) for i in cluster for j in cluster if i < j]
        for distance, i, j in sorted(edges):
            apart = any(
                (a in pieces[i] and b in pieces[j]) or (b in pieces[i] and a in pieces[j])
                for a, b in different
            )
            if distance <= largest and not apart:
                unite(pieces, i, j)
        result += {frozenset(pieces[i]) for i in cluster}
    kept = [c for c in result if len(c) > 1 or not c <= changed]
    found = np.full(n, -1)
    for number, cluster in enumerate(sorted(kept, key=min)):
        found[list(cluster)] = number
    return found


@pytest.mark.parametrize("seed", range(25))
def test_clusters_are_changed_as_the_plain_original_does(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 25))
    distances = rng.random((n, n)).astype(np.float32)
    distances = np.minimum(distances, distances.T)
    np.fill_diagonal(distances, 0)
    largest = float(rng.uniform(0.3, 0.9))
    rows, columns = np.nonzero(distances <= largest)
    starts = np.searchsorted(rows, np.arange(n + 1))
    matrix = csr_matrix((distances[rows, columns], columns, starts), (n, n))
    labels = rng.integers(-1, rng.integers(1, 5), n)
    pairs = [tuple(map(int, rng.choice(n, 2, replace=False))) for _ in range(n)]
    same, different = pairs[: n // 3], pairs[n // 3 :][: rng.integers(0, n)]
    groups = Constraints.of(range(n), as_links(same), as_links([])).groups
    different = [(a, b) for a, b in different if groups[a] != groups[b]]
    constraints = Constraints.of(range(n), as_links(same), as_links(different))
    found = constrained(labels, NeighborGraph(matrix, largest), constraints)
    np.testing.assert_array_equal(found, plainly(labels, distances, largest, same, different))


def as_links(pairs, reason="a row"):
    return Links.of([(a, b, reason) for a, b in pairs])


def test_a_contradiction_is_one_line_with_both_reasons():
    same = Links.of([(0, 1, "row 1 of a.csv"), (1, 2, "tracklet 7"), (3, 4, "row 9 of a.csv")])
    different = Links.of([(3, 0, "row 2 of a.csv"), (2, 0, "row 5 of a.csv")])
    with pytest.raises(UserError) as caught:
        Constraints.of(["p", "q", "r", "s", "t"], same, different)
    assert str(caught.value) == (
        "constraints: r and p are different by row 5 of a.csv, and the same by row 1 of a.csv, "
        "tracklet 7; correct one of them"
    )


def test_tracklets_are_one_individual_and_overlapping_ones_two():
    #              images   0  1  2  3  4  5  6  7
    tracklets = np.array([5, 5, 6, 6, 5, 7, -1, 8])
    cameras = np.array([0, 0, 0, 0, 1, 0, 0, -1])
    frames = np.array([10, 30, 30, 50, 20, 51, 20, 20])
    nothing = np.full(8, -1)
    same, different = tracklet_links(tracklets, cameras, nothing, frames)
    assert sorted(zip(*same[:2], strict=True)) == [(0, 1), (2, 3)]  # not 4, of another camera
    assert list(zip(*different[:2], strict=True)) == [(0, 2)]  # both at 30; 7 begins later
    assert different.reasons == ["tracklets 5 and 6, which overlap in time"]
    sessions = np.array([0, 0, 1, 1, 0, 1, 0, 0])
    assert not len(tracklet_links(tracklets, cameras, sessions, frames)[1].first)
    assert not len(tracklet_links(tracklets, cameras, nothing, nothing)[1].first)


def test_links_grow_with_images_and_overlaps_not_with_their_squares():
    n = 20_000
    tracklets, zeros = np.arange(n) // 10, np.zeros(n, dtype=np.int64)
    same, different = tracklet_links(tracklets, zeros, zeros, np.arange(n))
    assert len(same.first) == n - n // 10
    assert len(different.first) == 0
    assert len(Constraints.of(range(n), same, different).groups) == n


def test_decisions_are_read_by_path(tmp_path):
    (tmp_path / "d.csv").write_text(
        f"first,decision,second\na.jpg,same,{tmp_path}/b.jpg\nb.jpg,different,x/../c.jpg\n"
        "c.jpg,name,0007\ngone.jpg,same,a.jpg\ngone.jpg,name,Bert\n"
    )
    paths = [f"{tmp_path}/{name}.jpg" for name in "abc"]
    decisions = decisions_of(read_rows(tmp_path / "d.csv"), paths)
    assert [end.tolist() for end in decisions.same[:2]] == [[0], [1]]
    assert [end.tolist() for end in decisions.different[:2]] == [[1], [2]]
    assert decisions.different.reasons == [f"row 2 of {tmp_path}/d.csv"]
    assert (decisions.names, decisions.absent) == ({2: "0007"}, 2)
    for rows, expected in (
        ("a.jpg,equal,b.jpg", "row 1: needs two images"),
        ("a.jpg,same,", "row 1: needs two images"),
        ("a.jpg,name,A\na.jpg,name,B", "row 2 of .*d.csv: .*a.jpg has the name A already"),
    ):
        (tmp_path / "d.csv").write_text(f"first,decision,second\n{rows}\n")
        with pytest.raises(UserError, match=expected):
            decisions_of(read_rows(tmp_path / "d.csv"), paths)
    (tmp_path / "d.csv").write_text("first,second\na.jpg,b.jpg\n")
    with pytest.raises(UserError, match="no column decision"):
        decisions_of(read_rows(tmp_path / "d.csv"), paths)


@pytest.fixture
def walk(tmp_path):
    """Embeddings of three people; the second is two directions, seen in one tracklet."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 16))
    rows = np.concatenate([c + 0.2 * rng.normal(size=(8, 16)) for c in centres])
    paths = tuple(tmp_path / f"{n:02d}.jpg" for n in range(32))
    tracklet = np.where((np.arange(32) >= 15) & (np.arange(32) < 17), 3, -1)
    known = np.zeros(32, dtype=np.int64)
    return rows, Records(paths, known - 1, known, {"tracklet": tracklet, "frame": np.arange(32)})


def test_training_clusters_agree_with_tracklets_and_decisions(walk, tmp_path):
    rows, records = walk
    labeler, schedule = PseudoLabeler(k1=6, k2=2), FixedSchedule(0.6)
    assert constraints_of(labeler.constraints, records) is None
    free = labeler(rows, schedule, 0)
    assert free.num_clusters == 4
    tracked = labeler(rows, schedule, 0, constraints=constraints_of("tracklets", records))
    assert tracked.num_clusters == 3
    assert len(set(tracked.labels[8:24])) == 1
    (tmp_path / "d.csv").write_text("first,decision,second\n00.jpg,different,01.jpg\n")
    both = constraints_of(["tracklets", str(tmp_path / "d.csv")], records)
    divided = labeler(rows, schedule, 0, constraints=both)
    assert divided.labels[0] != divided.labels[1]
    (tmp_path / "d.csv").write_text("first,decision,second\n15.jpg,different,16.jpg\n")
    with pytest.raises(
        UserError, match=r"different by row 1 of .*d.csv, and the same by tracklet 3"
    ):
        constraints_of(["tracklets", str(tmp_path / "d.csv")], records)
    (tmp_path / "d.csv").write_text("first,decision,second\nx.jpg,same,y.jpg\n")
    with pytest.raises(UserError, match="no row is about two of these images"):
        constraints_of(str(tmp_path / "d.csv"), records)
    with pytest.raises(UserError, match="have no tracklets"):
        constraints_of("tracklets", Records(records.paths, records.identities, records.cameras))


def test_constraints_that_leave_one_cluster_are_an_error(walk):
    rows, records = walk
    one = Constraints.of(records.paths, as_links([(0, n) for n in range(1, 32)]), as_links([]))
    with pytest.raises(NoClustersError, match="fewer than two clusters"):
        PseudoLabeler(k1=6, k2=2)(rows, FixedSchedule(0.6), 0, constraints=one)


def test_the_callback_passes_the_constraints_of_the_training_images(walk, tmp_path, monkeypatch):
    rows, records = walk
    trainer = SimpleNamespace(
        datamodule=object.__new__(ReIDDataModule), reload_dataloaders_every_n_epochs=1,
        world_size=1, current_epoch=0, is_global_zero=True, max_epochs=1,
    )  # fmt: skip
    trainer.datamodule._splits = SimpleNamespace(train=records)
    trainer.datamodule.labels_epoch, trainer.datamodule.match = -1, "mean"
    module = object.__new__(DCCCModule)
    module.__dict__ |= {"teacher": None, "_modules": {}, "_parameters": {}, "_buffers": {}}
    module.__dict__ |= {
        "memory": SimpleNamespace(rebuilds_with_teacher=lambda epoch: False),
        "loss": None,
    }
    monkeypatch.setattr(
        "dccc_lightning.training.callbacks.recluster.embed_split",
        lambda *_: torch.from_numpy(rows).float(),
    )
    clusters = {}
    for source in (None, "tracklets"):
        callback = Recluster(FixedSchedule(0.6), PseudoLabeler(k1=6, k2=2, constraints=source))
        callback.setup(trainer, module, "fit")
        _, unit, context, _ = callback.embed(module, trainer.datamodule, 0)
        clusters[source] = callback._cluster(unit, context, None, 0)[0].max() + 1
    assert clusters == {None: 4, "tracklets": 3}
