import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dccc_lightning import GalleryIndex, build_embedder, export_embedder, load_embedder
from dccc_lightning.data.decoding import resize_image
from dccc_lightning.data.records import Records
from dccc_lightning.errors import UserError
from dccc_lightning.inference.evaluation import embed_records
from dccc_lightning.inference.image_embedder import ImageEmbedder, Origin
from dccc_lightning.neighbors import (
    aligned_candidates,
    aligned_search,
    aligned_similarity,
    candidate_ranking,
    knn,
)
from dccc_lightning.neighbors.inverted_file import recall


def reference(a, b):
    """All R x R cosines of each pair, averaged over each common turn."""
    first, second = (
        rows / np.maximum(np.linalg.norm(rows, axis=2, keepdims=True), 1e-300)
        for rows in (np.asarray(a, np.float64), np.asarray(b, np.float64))
    )
    turns = first.shape[1]
    return np.max(
        [
            sum(first[:, s] @ second[:, (s + r) % turns].T for s in range(turns)) / turns
            for r in range(turns)
        ],
        axis=0,
    )


def turning(n, dim=24, turns=4, people=12, seed=0):
    """Identities seen at a random turn: a centre, a part by orientation, and noise."""
    rng = np.random.default_rng(seed)
    identities = np.arange(n) % people
    centres, sides = rng.normal(size=(people, dim)), rng.normal(size=(people, turns, dim))
    shared, start = rng.normal(size=(turns, dim)), rng.integers(0, turns, n)
    side = (start[:, None] + np.arange(turns)) % turns
    rows = centres[identities][:, None] + 0.7 * (shared[side] + sides[identities[:, None], side])
    return rows + 0.4 * rng.normal(size=(n, turns, dim))


@pytest.mark.parametrize("turns", [1, 2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("kind", ["float32", "float64", "tensor"])
def test_similarity_equals_all_products(turns, kind):
    rng = np.random.default_rng(turns)
    a, b = rng.normal(size=(7, turns, 5)), rng.normal(size=(300, turns, 5))
    a[3] = 0
    given_a, given_b = (
        torch.from_numpy(rows) if kind == "tensor" else rows.astype(kind) for rows in (a, b)
    )
    found = aligned_similarity(given_a, given_b)
    assert type(found) is type(given_a)
    np.testing.assert_allclose(found, reference(a, b), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(aligned_similarity(given_b, given_a).T, found)


def test_similarity_of_turned_images_and_of_an_image_with_itself():
    a, b = turning(20), turning(30, seed=1)
    expected = aligned_similarity(a, b)
    for turn in range(4):
        np.testing.assert_array_equal(aligned_similarity(np.roll(a, turn, axis=1), b), expected)
    np.testing.assert_allclose(np.diag(aligned_similarity(a, np.roll(a, 1, axis=1))), 1, atol=1e-6)
    upright = a[:, :1].repeat(4, axis=1)
    cosines = reference(upright[:, :1], upright[:, :1])
    np.testing.assert_allclose(aligned_similarity(upright, upright), cosines, atol=1e-6)


def test_nothing_depends_on_the_number_of_threads():
    a = turning(260)
    found = []
    threads, torch_threads = numba.get_num_threads(), torch.get_num_threads()
    try:
        for number in (1, 2):
            numba.set_num_threads(min(number, threads))
            torch.set_num_threads(number)
            found.append((aligned_similarity(a, a), *knn(a, 9), *knn(a, 9, "approximate")))
    finally:
        numba.set_num_threads(threads)
        torch.set_num_threads(torch_threads)
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 40), st.booleans())
@settings(max_examples=25, deadline=None)
def test_neighbours_equal_a_full_sort(seed, turns, k, repeated):
    rng = np.random.default_rng(seed)
    rows = turning(40, 5, turns, 6, seed).astype(np.float32)
    if repeated:  # duplicates, turned ones, and zero rows
        rows = rows[rng.integers(0, 20, 40)]
        rows[::3] = np.roll(rows[::3], 1, axis=1)
        rows[7] = 0
    distances, indices = knn(rows, k)
    norms = (np.linalg.norm(rows, axis=2) > 0).mean(axis=1)
    squares = norms[:, None] + norms - 2 * reference(rows, rows)
    every = np.sqrt(np.maximum(squares, 0))
    every[np.arange(40), np.arange(40)] = -1
    np.testing.assert_allclose(
        distances, np.maximum(np.sort(every, axis=1)[:, :k], 0), rtol=0, atol=2e-6
    )
    for row, near, far in zip(every, indices, distances, strict=True):
        assert len(set(near)) == k
        np.testing.assert_allclose(np.maximum(row[near], 0), far, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(indices[:, 0], np.arange(40))


def test_ties_go_to_the_lower_index_and_a_turned_copy_is_at_zero():
    rows = turning(60).astype(np.float32)
    rows[50] = np.roll(rows[10], 1, axis=0)
    rows[55] = rows[10]
    distances, indices = knn(rows, 5)
    for own, others in ((10, [50, 55]), (50, [10, 55]), (55, [10, 50])):
        assert indices[own, :3].tolist() == [own, *others]
        assert not distances[own, :3].any()
        assert distances[own, 3] > 0.1


def test_blocks_do_not_show_and_memory_is_linear(monkeypatch):
    rows = turning(400).astype(np.float32)
    whole = knn(rows, 12)
    monkeypatch.setitem(aligned_search._BLOCK_BYTES, "cpu", 4 * 400 * 33)
    largest = 0

    class Largest(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Largest():
        blocks = knn(rows, 12)
    assert largest <= max(rows.size, 400 * 60) < 400 * 400
    for first, second in zip(whole, blocks, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("turns", [1, 2, 3, 6])
def test_candidates_are_found_for_any_number_of_turns(turns):
    rows = turning(600, 16, turns, people=40).astype(np.float32)
    assert recall(knn(rows, 10, "approximate")[1], knn(rows, 10, "torch")[1]) > 0.98


def test_candidates_from_the_mean_find_nearly_all(monkeypatch):
    rows = turning(900, people=60).astype(np.float32)
    exact, near = knn(rows, 12)[1], knn(rows, 12, "approximate")[1]
    assert recall(near, exact) > 0.99
    monkeypatch.setattr(aligned_candidates, "_FOUND", 0.3)
    monkeypatch.setattr(candidate_ranking, "SPARE", 0)
    few = np.ones((50, 4, 8)) + np.where(np.arange(4) % 2, 1, -1)[:, None] * turning(50, 8)
    assert knn(few, 1, "approximate")[1][:, 0].tolist() == list(range(50))  # means nearly equal
    few_near = knn(rows, 12, "approximate")[1]
    assert 0.3 < recall(few_near, exact) < 0.95  # scored again, or not found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aligned_similarity(np.ones((3, 4)), np.ones((3, 4))), "images, turns"),
        (lambda: aligned_similarity(np.ones((3, 4, 2)), np.ones((3, 2, 2))), "same turns and size"),
        (
            lambda: aligned_similarity(np.full((3, 4, 2), np.nan), np.ones((3, 4, 2))),
            "a must be",
        ),
        (lambda: knn(np.ones((3, 0, 2)), 1), r"non-empty \(N, R, D\)"),
        (lambda: knn(np.full((3, 4, 2), np.inf), 1), "features must be finite.*rows: 0, 1, 2"),
        (lambda: knn(np.ones((3, 4, 2)), 4), "k must be at most 3"),
        (lambda: knn(np.ones((3, 4, 2)), 1, "exact"), "backend must be one of"),
    ],
)
def test_refuses_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def photograph():
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    return rough.resize((90, 130), Image.Resampling.BICUBIC)


def test_turned_images_are_turned_before_they_are_resized(photograph):
    whole = resize_image(photograph, 64, 32, turned=True)
    assert whole.shape == (4, 3, 64, 32)
    for turn in range(4):
        turned = Image.fromarray(np.rot90(np.asarray(photograph), turn))
        np.testing.assert_array_equal(whole[turn], resize_image(turned, 64, 32))


def test_an_embedder_averages_quarter_turns(photograph):
    embedder, plain = load_embedder("bundled", rotations=4), load_embedder("bundled")
    turns = [Image.fromarray(np.rot90(np.asarray(photograph), turn)) for turn in range(4)]
    each = plain.embed(turns)
    mean = torch.nn.functional.normalize(each.mean(dim=0), dim=0)
    found = embedder.embed([*turns, photograph])
    assert found.shape == (5, plain.feature_dim)
    assert (found @ mean > 0.99999).all()  # also where the file itself is turned
    assert (each @ mean < 0.999).all()
    for other in (embedder, plain):
        aligned = other.embed(turns, aligned=True)
        assert aligned.shape == (4, 4, plain.feature_dim)
        torch.testing.assert_close(aligned[0], each, rtol=0, atol=1e-5)
        torch.testing.assert_close(aligned[1], each.roll(-1, 0), rtol=0, atol=1e-5)
        assert (aligned_similarity(aligned, aligned) > 0.99999).all()
    assert embedder.fingerprint != plain.fingerprint
    assert plain.fingerprint == load_embedder("bundled", rotations=1).fingerprint


def test_pixels_that_are_not_square_come_turned(photograph):
    embedder = load_embedder("bundled", rotations=4)
    (pixels,) = next(embedder.decode([photograph], 1))
    tensor = torch.from_numpy(pixels)[None]
    torch.testing.assert_close(embedder.embed(tensor), embedder.embed(photograph))
    assert embedder.embed(tensor, aligned=True).shape == (1, 4, embedder.feature_dim)
    with pytest.raises(ValueError, match=r"images must be \(B, 4, 3, 64, 32\) uint8"):
        embedder.embed(tensor[:, 0])
    with pytest.raises(ValueError, match="rotations must be 1 or 4, got 2"):
        load_embedder("bundled", rotations=2)


def test_records_are_embedded_by_turns_and_mirrored(photograph, tmp_path):
    photograph.save(tmp_path / "a.png")
    photograph.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png")
    records = Records((tmp_path / "a.png", tmp_path / "b.png"), np.zeros(2, int), np.zeros(2, int))
    embedder = load_embedder("bundled", rotations=4)
    for flip in (False, True):
        _, (rows,) = embed_records([embedder], records, "query", flip, 2, False)
        assert rows[0] @ rows[1] > 0.99999
    assert rows[0] @ embedder.embed(photograph)[0] < 0.9999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file_format", "match"), [("pt2", "aligned"), ("onnx", "mean"), ("onnx", "aligned")]
)
def test_exports_turn_square_images_inside_the_graph(photograph, tmp_path, file_format, match):
    torch.manual_seed(0)
    paths = [tmp_path / f"{turn}.png" for turn in range(2)]
    for turn, path in enumerate(paths):
        Image.fromarray(np.rot90(np.asarray(photograph), turn)).save(path)
    network = build_embedder("resnet10", width=0.25, weights=None)
    origin = Origin("here", "student", {}, 32, 32, "none")
    embedder = ImageEmbedder(network, origin, torch.device("cpu"), 4, match)
    parity = export_embedder(embedder, tmp_path / f"model.{file_format}", paths)
    assert parity.worst < 1e-5


def test_turns_of_images_that_are_not_square_are_not_exported(tmp_path, photograph):
    photograph.save(tmp_path / "a.png")
    with pytest.raises(UserError, match="64 x 32 cannot be turned after resizing"):
        export_embedder(
            load_embedder("bundled", rotations=4), tmp_path / "model.pt2", [tmp_path / "a.png"] * 2
        )
    assert not (tmp_path / "model.pt2").exists()


def test_a_gallery_of_other_rotations_is_refused(photograph):
    turned, plain = load_embedder("bundled", rotations=4), load_embedder("bundled")
    for own, other in ((turned, plain), (plain, turned)):
        gallery = GalleryIndex.build(own.embed(photograph), ["a.png"], fingerprint=own.fingerprint)
        gallery.search(own.embed(photograph), 1, fingerprint=own.fingerprint)
        with pytest.raises(UserError, match="the gallery was embedded by the model"):
            gallery.search(other.embed(photograph), 1, fingerprint=other.fingerprint)
