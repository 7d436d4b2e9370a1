"""Images that turn: settings, augmentation, stores, ranking, galleries and checkpoints."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch.nn import functional as F

from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.common import turning_ranges
from dccc_lightning.data.audit.limited_test import limited
from dccc_lightning.data.augmentation import BatchAugmentation, normalize
from dccc_lightning.data.decoding import resize_image
from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.image_datasets import OrderedImages
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.calibration import calibrate
from dccc_lightning.gallery.cross_camera_pairs import _scores
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.identities.identification import Identifier
from dccc_lightning.inference.loading import load_embedder
from dccc_lightning.inference.orientation import OFTEN, Orientation
from dccc_lightning.metrics.protocol_scores import evaluate_protocol
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.reranking import CameraRerank, Rerank, reranked_distances
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.turned_images import embed_turns
from dccc_lightning.neighbors import aligned_similarity, knn
from dccc_lightning.neighbors.camera_normalization import normalize_by_camera
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.similarity import similarities
from dccc_lightning.neighbors.turned_rows import of_rows, to_rows
from dccc_lightning.training.checkpointing import describe_network

TURNS = ("ROTATE_90", "ROTATE_180", "ROTATE_270")


def turned(n, dim=6, seed=0):
    """Embeddings (n, 4, dim) of length 1."""
    rows = torch.randn(n, 4, dim, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=2)


def sixteen_products(a, b):
    """The similarity as it is defined."""
    each = [sum(a[:, s] @ b[:, (s + r) % 4].T for s in range(4)) / 4 for r in range(4)]
    return torch.stack(each).amax(dim=0)


# Settings


@pytest.mark.parametrize(
    ("given_settings", "trained", "expected"),
    [
        ((None, None), (1, "mean"), (1, "mean")),
        ((None, None), (4, "aligned"), (4, "aligned")),
        ((4, None), (1, "mean"), (4, "mean")),
        ((4, "aligned"), (1, "mean"), (4, "aligned")),
        ((None, "mean"), (4, "aligned"), (4, "mean")),
        ((1, None), (4, "aligned"), (1, "mean")),
        ((4, None), (4, "aligned"), (4, "aligned")),
    ],
)
def test_settings_that_are_not_given_are_those_of_the_training(given_settings, trained, expected):
    assert turning_ranges.embedding(*given_settings, trained) == expected


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ((2, None), "rotations must be 1 or 4, got 2"),
        ((True, None), "rotations"),
        ((4, "max"), "match must be"),
        ((1, "aligned"), "choose rotations=4"),
        ((None, "aligned"), "choose rotations=4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given_settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        turning_ranges.embedding(*given_settings)


@pytest.mark.parametrize("flip", ["left", -0.1, 1.5, None, True])
def test_flips_are_a_word_or_a_probability(flip):
    with pytest.raises((ValueError, TypeError), match="flip"):
        turning_ranges.flips(flip)


# Images


def picture(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(turning_ranges.FITS), st.integers(0, 3)
)
def test_a_turned_file_gives_the_same_turns(height, width, fit, turn):
    image = picture(height, width)
    found = resize_image(image, 12, 8, turned=True, fit=fit)
    again = image.transpose(Image.Transpose[TURNS[turn - 1]]) if turn else image
    expected = np.roll(found, -turn, axis=0)
    np.testing.assert_array_equal(resize_image(again, 12, 8, turned=True, fit=fit), expected)
    np.testing.assert_array_equal(resize_image(image, 12, 8, fit=fit), found[0])


def test_images_keep_their_aspect():
    image = picture(10, 40)
    for fit, resized in (("pad", ImageOps.pad), ("crop", ImageOps.fit)):
        expected = np.asarray(resized(image, (20, 20), Image.Resampling.BICUBIC))
        found = resize_image(image, 20, 20, fit=fit).transpose(1, 2, 0)
        np.testing.assert_array_equal(found, expected)
    padded = resize_image(Image.new("RGB", (40, 10), "white"), 20, 20, fit="pad")
    assert (padded[:, 8:13] == 255).all()  # 7.5 pixels are left over on either side
    assert padded.sum() == 3 * 255 * 5 * 20
    with pytest.raises(ValueError, match="fit must be"):
        resize_image(image, 20, 20, fit="letterbox")


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_a_store_keeps_the_turns(tmp_path, cache):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        picture(9, 5, seed).save(path)
    store = ImageStore(paths, 8, 6, cache, turned=True, fit="crop")
    expected = [resize_image(picture(9, 5, seed), 8, 6, turned=True, fit="crop") for seed in (0, 1)]
    np.testing.assert_array_equal(store.load([1, 0]), np.stack(expected[::-1]))
    for turns, shape in ((True, (4, 3, 8, 6)), (False, (3, 8, 6))):
        images, _ = OrderedImages(store, turns).__getitems__([1])
        assert images.shape[1:] == shape
    np.testing.assert_array_equal(images[0], expected[1][0])


# Augmentation

PLAIN = {"flip": "none", "padding": 0, "erase": 0.0}
KEYS = torch.arange(60).reshape(60, 1)


def ramps(height, width):
    """(60, 4, 3, height, width): the turns are told by the channel means."""
    images = torch.zeros(60, 4, 3, height, width, dtype=torch.uint8)
    for turn in range(4):
        images[:, turn] = 60 * turn
    return images


def test_quarter_turns_are_drawn_from_those_of_the_image():
    images = ramps(6, 4)
    found = BatchAugmentation(6, 4, **PLAIN, rotate=90)(images, KEYS, 0)
    each = [(found == normalize(images[:, turn])).flatten(1).all(dim=1) for turn in range(4)]
    counts = torch.stack(each).sum(dim=1)
    assert counts.sum() == 60
    assert counts.min() > 5
    again = BatchAugmentation(6, 4, **PLAIN, rotate="90")(images[7:9], KEYS[7:9], 0)
    torch.testing.assert_close(again, found[7:9], rtol=0, atol=0)
    upright = BatchAugmentation(6, 4, **PLAIN)(images, KEYS, 0)
    torch.testing.assert_close(upright, normalize(images[:, 0]), rtol=0, atol=0)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 24)])
def test_any_angle_turns_by_at_most_half_a_quarter(height, width):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramp = (100 + 2.0 * (columns - width / 2) + 0 * rows).to(torch.uint8)
    images = ramp.expand(60, 4, 3, height, width)
    found = BatchAugmentation(height, width, **PLAIN, rotate="any")(images, KEYS, 1)
    middle = found[:, 0, height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
    scale = normalize(torch.full((3, 1, 1), 2)) - normalize(torch.zeros(3, 1, 1))
    across = middle.diff(dim=2).mean(dim=(1, 2)) / scale[0, 0, 0]
    down = middle.diff(dim=1).mean(dim=(1, 2)) / scale[0, 0, 0]
    torch.testing.assert_close(across.hypot(down), torch.ones(60), rtol=0, atol=0.02)
    angles = torch.atan2(down, across).rad2deg()
    assert angles.abs().max() < 46
    assert angles.min() < -30
    assert angles.max() > 30


@pytest.mark.parametrize(
    ("flip", "expected"),
    [("none", {0}), ("horizontal", {0, 1}), ("vertical", {0, 2}), ("both", {0, 1, 2, 3})],
)
def test_flips_by_word(flip, expected):
    images = torch.arange(60).repeat(60, 3, 1).reshape(60, 3, 10, 6).to(torch.uint8)
    found = BatchAugmentation(10, 6, **(PLAIN | {"flip": flip}))(images, KEYS, 0)
    kinds = [images, images.flip(3), images.flip(2), images.flip(2, 3)]
    seen = {
        kind
        for image, row in enumerate(found)
        for kind, all_images in enumerate(kinds)
        if torch.equal(row, normalize(all_images[image]))
    }
    assert seen == expected
    if flip == "horizontal":  # the word is the published probability
        half = BatchAugmentation(10, 6, **(PLAIN | {"flip": 0.5}))(images, KEYS, 0)
        torch.testing.assert_close(half, found, rtol=0, atol=0)


def test_rotation_needs_the_turns():
    with pytest.raises(ValueError, match=r"images must be \(B, 4, 3, 6, 4\)"):
        BatchAugmentation(6, 4, rotate=90)(ramps(6, 4)[:, 0], KEYS, 0)
    for word in ("45", 45, True, None):
        with pytest.raises(ValueError, match="rotate must be"):
            BatchAugmentation(6, 4, rotate=word)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_images_that_turn_are_told(share):
    rows = turned(8, dim=64)[torch.arange(200) % 8] + 0.3 * turned(200, dim=64, seed=1)
    for image in range(200):
        if image / 200 < share:
            rows[image] = rows[image].roll(image // 8 % 4, 0)
    found = Orientation.of(F.normalize(rows, dim=2))
    assert (found.turned > 0.3) == (share == 1)
    assert found.own < found.nearest
    word = "overhead" if found.turned >= OFTEN else "upright"
    assert found.sentence.endswith(f"subject={word}")


# Test splits


class Listed:
    name = "cows"

    def __init__(self, folder):
        rows = [(folder / f"{n}.png", n % 2 if n < 20 else -1, -1) for n in range(26)]
        train = Records.from_rows(rows[:3])
        self.made = Splits("cows", folder, train, Records.from_rows(rows[:2]),
                           Records.from_rows(rows[2:]))  # fmt: skip

    def splits(self):
        return self.made


def test_images_of_a_test_identity_are_limited(tmp_path):
    given = Listed(tmp_path)
    assert limited(given, None, False) is given
    found = limited(given, 4, False).splits()
    assert found.train is given.made.train
    assert found.query is given.made.query
    named = [int(path.stem) for path in found.gallery.paths]
    assert named == [2, 3, 10, 11, 18, 19, *range(20, 26)]  # unknown identities stay
    one = limited(given, 1, False).splits()
    assert [n for n in (int(path.stem) for path in one.gallery.paths) if n < 20] == [2, 3]


def test_near_duplicates_of_an_identity_are_left_out(tmp_path):
    given = Listed(tmp_path)
    for n in range(26):
        scene = picture(24, 24, n % 6).resize((96, 96))
        scene.putpixel((n, 0), (255, 0, 0))
        scene.save(tmp_path / f"{n}.png")
    found = limited(given, None, True).splits()
    named = [int(path.stem) for path in (*found.query.paths, *found.gallery.paths)]
    assert named == [*range(6), *range(20, 26)]


# Embeddings


def test_turns_are_embedded_one_by_one():
    images = torch.rand(3, 4, 3, 2, 2)

    def network(batch):
        return F.normalize(batch.flatten(1), dim=1)

    each = embed_turns(network, images, aligned=True)
    torch.testing.assert_close(each[:, 2], network(images[:, 2]))
    mean = embed_turns(network, images, aligned=False)
    torch.testing.assert_close(mean, F.normalize(each.sum(dim=1), dim=1))
    torch.testing.assert_close(embed_turns(network, images[:, 1], True), each[:, 1])


def test_unit_embeddings_keep_their_turns():
    rows = turned(30)
    unit = UnitEmbeddings.of_turns(3 * rows)
    np.testing.assert_allclose(unit.turned, rows, atol=1e-6)
    np.testing.assert_allclose(unit.rows, F.normalize(rows.mean(dim=1), dim=1), atol=1e-6)
    np.testing.assert_array_equal(knn(unit, 5)[1], knn(rows, 5)[1])
    np.testing.assert_allclose(knn(unit, 5)[0], knn(rows, 5)[0], atol=1e-6)
    np.testing.assert_array_equal(unit[4:6].turned, unit.turned[4:6])
    for wrong in (rows[0], rows[:0], torch.full((2, 4, 3), torch.nan)):
        with pytest.raises(ValueError, match="features"):
            UnitEmbeddings.of_turns(wrong)


def test_clustering_ranks_aligned():
    rows = turned(40)
    unit = UnitEmbeddings.of_turns(rows)
    found = jaccard_graph(unit, 8, 3).distances
    expected = jaccard_graph(unit.rows, 8, 3, neighbors=knn(rows, 8)).distances
    assert (found != expected).nnz == 0
    assert (found != jaccard_graph(unit.rows, 8, 3).distances).nnz > 0
    for camera in ("proxies", "ca_jaccard"):
        labeler = PseudoLabeler(k1=8, camera=camera)
        with pytest.raises(ValueError, match=f"camera={camera} compares one embedding"):
            labeler.distances(unit, np.arange(40) % 2, 0.5, 1)


@pytest.mark.parametrize("mode", ["center", "whiten"])
def test_cameras_leave_turns_turns(mode):
    rows, cameras = turned(30), np.arange(30) % 3
    found = normalize_by_camera(UnitEmbeddings.of_turns(rows), cameras, mode)
    again = normalize_by_camera(UnitEmbeddings.of_turns(rows.roll(1, 1)), cameras, mode)
    np.testing.assert_allclose(again.turned, np.roll(found.turned, 1, 1), atol=1e-4)
    every = normalize_by_camera(rows.reshape(120, -1), cameras.repeat(4), mode)
    np.testing.assert_allclose(found.turned, every.view(30, 4, -1), atol=1e-5)


# Ranking


@pytest.mark.parametrize("narrow", [0.0, 50.0])
def test_similarities_are_the_sixteen_products(narrow):
    queries, gallery = turned(7), turned(50, seed=1)
    shift = narrow * torch.ones(6)
    queries, gallery = (F.normalize(part + shift, dim=2) for part in (queries, gallery))
    found = torch.cat(list(similarities(queries, gallery, 3)))
    shifted = torch.stack([gallery.double().roll(-turn, 1) for turn in range(4)])
    apart = (queries.double()[None, :, None] - shifted[:, None]).square().sum(dim=4).mean(dim=3)
    expected = -apart.amin(dim=0) / 2
    gaps = found - found[:, :1] - (expected - expected[:, :1])  # up to a constant of the query
    assert gaps.abs().max() < (1e-9 if narrow else 1e-6)


def scored(features, rerank=None, protocol="market1501", **options):
    n = len(features)
    labels = {"identity": torch.arange(n) % 5, "camera": torch.arange(n) % 3}
    return evaluate_protocol(
        protocol, features, labels, torch.arange(10), torch.arange(10, n), rerank=rerank, **options
    )


def test_scores_are_those_of_aligned_ranks():
    features = turned(60)
    found = scored(features)
    similarity = sixteen_products(features[:10], features[10:])
    average = []
    for query in range(10):
        gallery = torch.arange(10, 60)
        kept = (gallery % 5 != query % 5) | (gallery % 3 != query % 3)
        order = similarity[query][kept].argsort(descending=True)
        hit = (gallery[kept] % 5 == query % 5)[order]
        places = hit.nonzero()[:, 0]
        average.append(((torch.arange(len(places)) + 1) / (places + 1)).mean())
    assert found["mAP"].item() == pytest.approx(torch.stack(average).mean().item(), abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"rerank": Rerank(5, 3)}, {"camera_center": True},
                                     {"protocol": "leave_one_out"}])  # fmt: skip
def test_turning_an_image_changes_no_score(options):
    features = turned(60)
    expected = scored(features, **options)
    again = features.clone()
    again[::3], again[1::3] = features[::3].roll(1, 1), features[1::3].roll(2, 1)
    for name, value in scored(again, **options).items():
        assert value.item() == pytest.approx(expected[name].item(), abs=1e-9)
    plain = scored(features[:, 0], **options)
    for name, value in scored(features[:, :1].expand(-1, 4, -1), **options).items():
        assert value.item() == pytest.approx(plain[name].item(), abs=1e-6)


def test_the_original_distance_of_the_reranking_is_aligned():
    points = turned(30)
    squares = (2 - 2 * sixteen_products(points, points)).clamp(min=0)
    expected = squares[:8] / squares.amax(dim=1)[:8, None]
    (found,) = reranked_distances(points[:8], points[8:], Rerank(5, 2, weight=1.0))
    torch.testing.assert_close(found, expected[:, 8:], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="use match=mean"):
        list(reranked_distances(points, points, CameraRerank(), cameras=np.arange(30) % 2))


def test_the_metric_takes_turns_in_batches():
    features, identities = turned(40), torch.arange(40) % 4
    cameras, is_query = torch.arange(40) % 3, torch.arange(40) < 10
    metric = ReIDRetrieval()
    for part in torch.arange(40).split(7):
        metric.update(features[part], identities[part], cameras[part], is_query[part])
    expected = evaluate_retrieval(
        features[:10], identities[:10], cameras[:10], features[10:], identities[10:], cameras[10:]
    )
    assert metric.compute() == expected
    with pytest.raises(ValueError, match="one size"):
        evaluate_retrieval(
            features[:10], identities[:10], cameras[:10], features[10:, 0], identities[10:],
            cameras[10:],
        )  # fmt: skip


# Galleries


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_gallery_is_searched_aligned(kind, tmp_path):
    rows, queries = turned(120), turned(5, seed=1)
    queries[0] = rows[17].roll(1, 0)
    paths, cameras = [f"{n}.jpg" for n in range(120)], np.arange(120) % 3
    gallery = GalleryIndex.build(
        to_rows(rows), paths, fingerprint="x-aligned", cameras=cameras, kind=kind
    )
    gallery.save(tmp_path / "gallery")
    gallery = GalleryIndex.load(tmp_path / "gallery", fingerprint="x-aligned")
    similarity = sixteen_products(queries, rows).masked_fill(torch.arange(120) % 3 == 1, -1)
    expected = similarity.topk(6, dim=1)
    found = gallery.search(to_rows(queries), 6, exclude_camera="1")
    assert found[0][0].path == "17.jpg"
    for hits, values, indices in zip(found, *expected, strict=True):
        assert [hit.path for hit in hits] == [paths[n] for n in indices]
        np.testing.assert_allclose([hit.score for hit in hits], values, atol=1e-5)
    few = gallery.search(to_rows(queries), 500, exclude_camera="1")
    assert all(len({hit.path for hit in hits}) == len(hits) == 80 for hits in few)
    assert gallery.search(np.zeros((0, 24)), 3) == []


def test_calibration_compares_aligned():
    rows = turned(30)
    unit = of_rows(to_rows(rows), "x-aligned")
    np.testing.assert_allclose(unit.turned, rows, atol=1e-6)
    first, second = np.triu_indices(30, 1)
    expected = aligned_similarity(rows.numpy(), rows.numpy())[first, second]
    np.testing.assert_allclose(_scores(unit, first, second), expected, atol=1e-6)
    labels, cameras = np.arange(30) % 5, np.arange(30) % 2
    other = of_rows(to_rows(rows.roll(1, 1)), "x-aligned")
    found = [calibrate(each, labels, cameras, 0.1).threshold for each in (unit, other)]
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[0] != calibrate(unit.rows, labels, cameras, 0.1).threshold


def test_identities_of_turned_images():
    people = turned(5, dim=16)[torch.arange(30) % 5] + 0.02 * turned(30, dim=16, seed=3)
    for image in range(30):
        people[image] = people[image].roll(image % 4, 0)
    unit = of_rows(to_rows(F.normalize(people, dim=2)), "x-aligned")
    np.testing.assert_array_equal(Identifier(k1=6, k2=3)(unit), np.arange(30) % 5)
    with pytest.raises(ValueError, match=r"embedding\.match=mean"):
        Identifier(0.5, "cosine")(unit)


# Checkpoints


def checkpoint(tmp_path, **data):
    network = build_embedder("resnet10", width=0.25, weights=None)
    about = {"height": 32, "width": 32, "rotations": 1, "match": "mean", "fit": "stretch"}
    module = SimpleNamespace(
        **(about | data), interpolation="bicubic", dataset=SimpleNamespace(name="cows")
    )
    described = describe_network(network, module)
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": network.state_dict(), "dccc_lightning": described}, path)
    return described, path


def test_a_checkpoint_is_used_as_it_was_trained(tmp_path):
    _, path = checkpoint(tmp_path, rotations=4, match="aligned", fit="pad")
    image = picture(30, 20)
    embedder = load_embedder(path)
    assert (embedder.rotations, embedder.match, embedder.fit) == (4, "aligned", "pad")
    assert embedder.fingerprint.endswith("-aligned")
    assert embedder.row_dim == 4 * embedder.feature_dim
    found = embedder.embed(image)
    assert found.shape == (1, 4, embedder.feature_dim)
    torch.testing.assert_close(embedder.rows(image), found.flatten(1) / 2)
    again = image.transpose(Image.Transpose.ROTATE_90)
    assert aligned_similarity(found, embedder.embed(again)).item() > 0.99999
    others = [load_embedder(path, match="mean"), load_embedder(path, rotations=1)]
    assert [(o.rotations, o.match) for o in others] == [(4, "mean"), (1, "mean")]
    assert others[0].embed(image) @ others[0].embed(again).T > 0.99999
    assert len({e.fingerprint for e in (embedder, *others)}) == 3
    gallery = GalleryIndex.build(
        embedder.rows(image), ["a.png"], fingerprint=embedder.fingerprint, kind="flat"
    )
    gallery.preprocessing = embedder.preprocessing
    for other in others:
        with pytest.raises(UserError, match="match aligned, not mean"):
            gallery.check_fingerprint(other.fingerprint, other.preprocessing)


def test_the_description_of_upright_images_is_as_before(tmp_path):
    described, path = checkpoint(tmp_path)
    assert described["image"] == {"height": 32, "width": 32}
    assert "embedding" not in described
    embedder = load_embedder(path)
    assert (embedder.rotations, embedder.match, embedder.fit) == (1, "mean", "stretch")
    with pytest.raises(ValueError, match="choose rotations=4"):
        load_embedder(path, match="aligned")


@pytest.mark.parametrize("wrong", [{"rotations": 3}, {"match": "best"}, {"fit": "squeeze"}])
def test_a_damaged_description_is_one_line(tmp_path, wrong):
    _, path = checkpoint(tmp_path, **({"rotations": 4} | wrong))
    with pytest.raises(UserError, match="the description of its network is invalid"):
        load_embedder(path)
