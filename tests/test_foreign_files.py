"""Files of other repositories as ckpt= of every task, and the size of images that they state."""

import json
from pathlib import Path

import pytest
import torch

from dccc_lightning.config.build import build_plain
from dccc_lightning.config.image_size import GIVEN, is_image_given, with_stated_size
from dccc_lightning.errors import UserError
from dccc_lightning.inference.loading import ForeignFileError, load_embedder
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.stated_size import stated_size
from dccc_lightning.tasks import calibrate, embed, evaluate, export, identify, index, search, verify
from dccc_lightning.tasks.inputs import loaded_network

RUN = {
    "embed": (embed.embed, {"input": "query"}),
    "evaluate": (evaluate.evaluate, {}),
    "index": (index.index, {"input": "gallery"}),
    "search": (search.search, {"query": "query", "board.queries": 0}),
    "calibrate": (calibrate.calibrate, {"input": "query"}),
    "identify": (identify.identify, {"input": "query"}),
    "export": (export.export, {"format": "pt2", "images": 4}),
    "verify": (verify.verify, {}),
}
MODEL = ("model=resnet10", "model.width=0.5", "model.weights=null")
SLOW = ("search", "calibrate", "export", "verify", "index", "identify")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The package's weights by the names of FastReID 0.1."""
    state = load_embedder("bundled", device="cpu").network.state_dict()
    renamed = {name.replace("neck.", "heads.bnneck."): value for name, value in state.items()}
    path = tmp_path_factory.mktemp("foreign") / "theirs.pth"
    torch.save({"model": renamed}, path)
    return path


@pytest.fixture
def settings_of(composed):
    def settings(task, **changes):
        return composed(f"task={task}", *MODEL, changes=changes)

    return settings


@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=pytest.mark.slow if t in SLOW else ()) for t in RUN]
)
def test_every_task_takes_a_file_of_another_repository(
    settings_of, theirs, tmp_path, monkeypatch, task, capsys
):
    monkeypatch.chdir(tmp_path)
    run, changes = RUN[task]
    if task == "search":
        place = tmp_path / "g"
        built = settings_of("index", ckpt=str(theirs), input="gallery", index=str(place))
        index.index(built, tmp_path)
        changes = {**changes, "index": str(place)}
    found = run(settings_of(task, ckpt=str(theirs), **changes), tmp_path)
    assert "with images of 32 x 16 by image.height and image.width" in " ".join(
        capsys.readouterr().out.split()
    )
    if task == "evaluate":
        assert found["checkpoints"][str(theirs)]["height"] == 32
        own = run(settings_of(task, ckpt=str(theirs), rerank=False), tmp_path)
        assert own["scores"][str(theirs)] == found["scores"][str(theirs)]


def test_several_files_are_rows_of_one_matrix(settings_of, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = evaluate.evaluate(settings_of("evaluate", ckpt=["bundled", str(theirs)]), tmp_path)
    assert list(found["scores"]) == ["bundled", str(theirs)]
    assert found["checkpoints"]["bundled"]["height"] == 64


def test_the_remedy_of_a_foreign_file_names_what_loads_it(theirs):
    with pytest.raises(ForeignFileError, match=r"build_embedder\(BACKBONE, weights=FILE\)"):
        load_embedder(theirs)


def square(tmp_path, name="weights.pth"):
    """A file of a family with a size of its own: MiewID's, of torch's smallest layers."""
    pytest.importorskip("timm")
    import timm

    trunk = timm.create_model("test_efficientnet", num_classes=0)
    state = {f"backbone.{n}": v for n, v in trunk.state_dict().items()}
    norm = torch.nn.BatchNorm1d(trunk.num_features).state_dict()
    state |= {f"bn.{n}": v for n, v in norm.items()} | {"pooling.p": torch.ones(1) * 3}
    torch.save(state, tmp_path / name)
    return str(tmp_path / name)


def test_the_size_of_a_family_is_used_unless_the_user_sets_one(settings_of, tmp_path, capsys):
    path = square(tmp_path)
    changes = {"ckpt": path, "model.backbone": "timm/test_efficientnet", "model.width": 1.0}
    settings = settings_of("embed", **changes)
    embedder = loaded_network({**settings, GIVEN: False}, path, "cpu")
    said = " ".join(capsys.readouterr().out.split())
    assert "images of 440 x 440 as the weights state" in said
    assert {k: embedder.preprocessing[k] for k in ("height", "width", "interpolation")} == {
        "height": 440, "width": 440, "interpolation": "bilinear",
    }  # fmt: skip
    assert (embedder.origin.height, embedder.origin.width) == (440, 440)
    for given in ({GIVEN: True}, {}):
        chosen = loaded_network({**settings, **given}, path, "cpu")
        assert (chosen.height, chosen.width) == (32, 16)
        assert chosen.fingerprint != embedder.fingerprint


def test_without_a_stated_size_that_of_the_dataset_remains(settings_of, theirs):
    settings = settings_of("embed", **{"model.weights": str(theirs), GIVEN: False})
    sized, origin = with_stated_size(settings)
    assert sized["image"] == settings["image"]
    assert "as the weights do not state it" in origin
    assert build_plain(sized, "cpu").height == 32


def transformer(rows, columns, side=16, **others):
    return {
        "base.cls_token": torch.zeros(1, 1, 8), "base.blocks.0.norm1.weight": torch.zeros(8),
        "base.pos_embed": torch.zeros(1, 1 + rows * columns, 8),
        "base.patch_embed.proj.weight": torch.zeros(8, 3, side, side),
        "bottleneck.weight": torch.zeros(8), **others,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (transformer(16, 8), (256, 128)),
        (transformer(24, 8), (384, 128)),
        (transformer(14, 14), (224, 224)),
        ({f"model.model.{n[5:]}": v for n, v in transformer(14, 14).items()}, (224, 224)),
        (transformer(21, 10), None),  # overlapping patches: several sizes have as many
        (transformer(16, 8, 8, **{"base.patch_embed.conv.0.weight": torch.zeros(8)}), (256, 128)),
        ({"part_token1": torch.zeros(1, 1, 8), "part_token2": torch.zeros(1, 1, 8),
          "part_token3": torch.zeros(1, 1, 8), "cls_pos": torch.zeros(1, 1, 8),
          **{f"part{i}_pos": torch.zeros(1, 1, 8) for i in (1, 2, 3)},
          "pos_embed": torch.zeros(1, 128, 8),
          "patch_embed.proj.weight": torch.zeros(8, 3, 16, 16)}, (256, 128)),
        ({"layer1.weight": torch.zeros(8)}, None),
    ],
)  # fmt: skip
def test_positions_state_a_size(tmp_path, content, size):
    torch.save(content, tmp_path / "w.pth")
    assert stated_size(str(tmp_path / "w.pth"), "vit_small", "auto") == size


def test_weights_by_name_state_a_size():
    pytest.importorskip("timm")
    assert stated_size("bundled", "resnet10", "auto") == (64, 32)
    assert stated_size("clip", "clip_vit_base", "auto") == (224, 224)
    assert stated_size("imagenet", "timm/test_vit", "auto") == (160, 160)
    assert stated_size("imagenet", "resnet50", "auto") is None
    assert stated_size(None, "resnet50", "auto") is None
    assert stated_size("missing.pth", "resnet50", "auto") is None


def test_mega_descriptor_has_the_size_of_its_backbone(tmp_path):
    pytest.importorskip("timm")
    torch.save({"patch_embed.proj.weight": torch.zeros(8, 3, 4, 4)}, tmp_path / "w.pth")
    for name, side in (("tiny_patch4_window7_224", 224), ("large_patch4_window12_384", 384)):
        found = stated_size(str(tmp_path / "w.pth"), f"timm/swin_{name}", "mega_descriptor")
        assert found == (side, side)


def test_the_one_line_says_the_size(tmp_path, caplog):
    caplog.set_level("INFO")
    build_embedder("timm/test_efficientnet", weights=square(tmp_path), image_size=(64, 64))
    (line,) = [r.getMessage() for r in caplog.records if "weights" in r.getMessage()]
    assert "MiewID" in line
    assert "its images are 440 x 440" in line


def test_sizes_of_the_command_line_are_known_as_given():
    assert is_image_given(["task=embed", "image.width=64"])
    assert is_image_given(["image={height: 1, width: 2}"])
    assert is_image_given(["experiment=clip"])
    assert not is_image_given(
        ["task=embed", "image.fit=pad", "dataset.image_root=a", "images=4", "model=timm"]
    )


def test_a_size_that_the_network_refuses_is_one_line(settings_of, tmp_path):
    path = square(tmp_path)
    changes = {"ckpt": path, "model.backbone": "vit_small", "model.width": 1.0}
    with pytest.raises(UserError) as caught:
        loaded_network({**settings_of("embed", **changes), GIVEN: False}, path, "cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_embed_records_the_size_it_used(settings_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = square(tmp_path)
    changes = {"ckpt": path, "model.backbone": "timm/test_efficientnet", "model.width": 1.0,
               "input": "query", GIVEN: False}  # fmt: skip
    embed.embed(settings_of("embed", **changes), tmp_path)
    manifest = json.loads(Path("embeddings.json").read_text())
    assert (manifest["preprocessing"]["height"], manifest["preprocessing"]["width"]) == (440, 440)
