"""Mean, std, colour order, filter and size of a file's family go wherever its network goes."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dccc_lightning.data.decoding import decode_image
from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.inference.bulk_embedding import BulkEmbedding
from dccc_lightning.inference.checked_export import about, export_embedder
from dccc_lightning.inference.loading import KEY, load_embedder
from dccc_lightning.inference.model_card import model_card
from dccc_lightning.inference.runtimes import runner
from dccc_lightning.models.dialects.families import DIALECTS
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.layout import NORMALIZATIONS
from dccc_lightning.tasks.gallery_inputs import embedded_before
from dccc_lightning.tasks.path_labels import PathLabels
from dccc_lightning.training.checkpointing import describe_network
from test_export import facts

MODEL = {"backbone": "resnet10", "width": 0.125}
SIZE = (32, 16)


class Images:
    """A folder's images as a dataset: only its name matters here."""

    name = "shop"


def datamodule(**options):
    return ReIDDataModule(Images(), *SIZE, 2, 2, 1, augmentation=None, **options)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(4):
        noise = rng.integers(0, 256, (60, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of TransReID's names and mean 0.5, of a network small enough for a test."""
    torch.manual_seed(0)
    network = build_embedder(**MODEL, weights=None)
    state = {
        f"base.{name.removeprefix('backbone.')}": value.uniform_(0.5, 1.5)
        if name.endswith("running_var") else value
        for name, value in network.state_dict().items() if name.startswith("backbone.")
    }  # fmt: skip
    neck = network.neck.state_dict()
    state |= {f"bottleneck.{name}": value for name, value in neck.items()}
    path = tmp_path_factory.mktemp("published") / "transreid.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def run(published, tmp_path_factory):
    """The checkpoint of a run that began with the file, and its network."""
    network = build_embedder(**MODEL, weights=str(published), dialect="transreid")
    data = datamodule()
    data.interpolation = network.layout.interpolation
    state = {f"student.{name}": value for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.save({"state_dict": state, KEY: describe_network(network, data)}, path)
    return path, network.eval()


def by_hand(network, paths):
    """Embed without this package's preprocessing: Pillow's bilinear filter, mean and std 0.5."""
    images = [
        np.asarray(Image.open(path).convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR))
        for path in paths
    ]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    layer, network.normalization = network.normalization, torch.nn.Identity()
    with torch.no_grad():
        embeddings = network((pixels - 0.5) / 0.5)
    network.normalization = layer
    return embeddings


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_network_sees_its_own_mean_std_and_colours(normalization, colour):
    layout = {"normalization": normalization, "colour": colour}
    network = build_embedder(**MODEL, weights=None, layout=layout)
    mean, std = (torch.tensor(row)[:, None, None] for row in NORMALIZATIONS["imagenet"])
    wanted = [torch.tensor(row)[:, None, None] for row in NORMALIZATIONS[normalization]]
    pixels = torch.rand(2, 3, 4, 4)
    seen = network.normalization((pixels - mean) / std)
    if colour == "bgr":
        pixels = pixels[:, [2, 1, 0]]
    torch.testing.assert_close(seen, (pixels - wanted[0]) / wanted[1], atol=1e-5, rtol=1e-5)
    assert not list(network.normalization.state_dict())


def test_a_fine_tuned_checkpoint_is_embedded_as_its_file_was(run, photographs):
    path, network = run
    embedder = load_embedder(path, device="cpu")
    assert embedder.preprocessing == {
        "height": 32, "width": 16, "interpolation": "bilinear", "colour": "rgb",
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        "fit": "stretch", "rotations": 1, "match": "mean",
    }  # fmt: skip
    found = embedder.embed(photographs)
    torch.testing.assert_close(found, by_hand(network, photographs), atol=1e-5, rtol=1e-4)
    again = build_embedder(**MODEL, weights=str(path))  # a second run begins with the checkpoint
    assert again.layout == network.layout


@pytest.mark.parametrize("file_format", [pytest.param("onnx", marks=pytest.mark.slow), "pt2"])
def test_an_export_holds_mean_and_std_of_one_half(run, photographs, tmp_path, file_format):
    path, network = run
    embedder = load_embedder(path, device="cpu")
    file = tmp_path / f"out.{file_format}"
    export_embedder(embedder, file, photographs)
    pixels = np.stack([decode_image(p, *SIZE, "bilinear") for p in photographs])
    found = torch.from_numpy(runner(file)(pixels))
    torch.testing.assert_close(found, by_hand(network, photographs), atol=1e-5, rtol=1e-4)
    assert about(embedder)["preprocessing"] == embedder.preprocessing


def test_the_card_states_what_was_measured_and_resizes_alike(run, photographs, tmp_path):
    embedder = load_embedder(run[0], device="cpu")
    card = model_card(embedder.origin, facts() | about(embedder))
    assert "mean\n0.5 0.5 0.5, std 0.5 0.5 0.5" in card
    names = {}
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    exec(code.replace("example.jpg", str(photographs[0])), names)
    np.testing.assert_array_equal(
        names["images"][0], decode_image(photographs[0], *SIZE, "bilinear")
    )


def test_what_a_run_trained_with_is_recorded_whatever_its_file_asked_for(run):
    network = run[1]
    described = describe_network(network, datamodule())  # whose images were resized bicubically
    layout = described["model"]["layout"]
    assert layout["normalization"] == "half"
    assert "interpolation" not in layout
    plain = build_embedder(**MODEL, weights=None)
    assert "layout" not in describe_network(plain, datamodule())["model"]


def test_training_images_are_resized_with_the_filter_of_the_network(photographs):

    store = ImageStore(photographs, *SIZE, "none", interpolation="bilinear")
    wanted = decode_image(photographs[1], *SIZE, "bilinear")
    np.testing.assert_array_equal(store.load([1])[0], wanted)
    assert (wanted != decode_image(photographs[1], *SIZE)).any()


def test_settings_override_the_family_also_by_the_default(published):
    network = build_embedder(
        **MODEL, weights=str(published), dialect="transreid", layout={"normalization": "imagenet"}
    )
    assert network.layout.normalization == "imagenet"
    assert network.layout.interpolation == "bilinear"


def test_filters_are_those_of_the_authors_tests():
    bilinear = {row.name for row in DIALECTS.values() if row.layout.interpolation == "bilinear"}
    assert not bilinear & {"fastreid", "cluster_contrast", "mmt", "pplr", "open_unreid"}
    assert bilinear >= {
        "strong_baseline", "strong_baseline_ibn", "agw", "transreid_resnet",
        "transreid_ssl_resnet", "transreid", "torchreid",
    }  # fmt: skip


def test_embeddings_and_galleries_state_their_preprocessing(run, photographs, tmp_path):
    embedder = load_embedder(run[0], device="cpu")
    bulk = BulkEmbedding(embedder, tmp_path / "out", "photographs")
    listed = [ListedImage(str(path), "", "") for path in photographs]
    manifest = bulk.run(lambda: iter(listed))
    assert manifest["preprocessing"] == embedder.preprocessing
    labels = PathLabels({"pattern": None, "dataset": {}})
    found = embedded_before(tmp_path / "out", labels)
    gallery = GalleryIndex.build(
        found.rows, [image.path for image in found.images], fingerprint=embedder.fingerprint
    )
    gallery.preprocessing, gallery.network = found.preprocessing, found.network
    gallery.save(tmp_path / "gallery")
    stored = json.loads((tmp_path / "gallery" / "index.json").read_text())
    assert stored["preprocessing"] == embedder.preprocessing

    gallery = GalleryIndex.load(tmp_path / "gallery")
    gallery.check_fingerprint(embedder.fingerprint, embedder.preprocessing)
    other = build_embedder(**MODEL, weights=str(run[0]), layout={"normalization": "imagenet"})
    query = type(embedder)(other, embedder.origin, embedder.device)
    message = "preprocessed with mean 0.5 0.5 0.5, not 0.485 0.456 0.406, std 0.5 0.5 0.5, not"
    with pytest.raises(UserError, match=message):
        gallery.check_fingerprint(query.fingerprint, query.preprocessing)
    gallery.preprocessing = None  # built before it was stored
    named = re.escape(f"{gallery.fingerprint} ({embedder.origin.name}), not by {query.fingerprint}")
    with pytest.raises(UserError, match=f"{named}; use"):
        gallery.check_fingerprint(query.fingerprint, query.preprocessing)
