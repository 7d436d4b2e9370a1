"""The configuration as Hydra composes it; nothing is trained here."""

import inspect
import itertools
import random
from functools import cache
from importlib.util import find_spec
from typing import ClassVar

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf, open_dict

from dccc_lightning.cli import conf_dir
from dccc_lightning.clustering import dcps
from dccc_lightning.clustering.experimental import adaptive
from dccc_lightning.config import preset_diff
from dccc_lightning.config.build import build_callback
from dccc_lightning.errors import UserError
from dccc_lightning.losses import ClusterContrastLoss, SoftContrastiveLoss, SoftOnlyLoss
from dccc_lightning.neighbor_loss import NeighborSmoothedLoss
from dccc_lightning.training.callbacks.recluster import Recluster
from dccc_lightning.training.mlflow_logger import RunMLFlowLogger

GROUPS = ("scheduler", "memory", "loss", "optimizer", "dataset", "model")
PAIRED = 4
"""Number of the first groups whose options are composed in every pair."""

needs_infomap = pytest.mark.skipif(find_spec("infomap") is None, reason="an extra, under the GPL")
LOSSES = {
    "cluster_contrast": ClusterContrastLoss,
    "ncplr": NeighborSmoothedLoss,
    "soft_contrastive": SoftContrastiveLoss,
    "soft_only": SoftOnlyLoss,
}
BENCHMARKS = ("market1501", "dukemtmc", "msmt17")


def options(group):
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@cache
def composed(*overrides, output="run"):
    """The resolved settings of a command line, as plain containers."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=list(overrides), return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(output)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    del settings["output"]  # holds the time
    return settings


@pytest.fixture(autouse=True, scope="module")
def _forget_hydra():
    yield
    HydraConfig.instance().cfg = None


def pairs_of(chosen):
    return set(itertools.combinations(enumerate(chosen), 2))


def covering_pairs():
    """Few combinations with every dataset and model, in which the options of other groups meet.

    A dataset and a model set different sections, so not all of their pairs are composed.
    """
    choices = [options(group) for group in GROUPS]
    paired, free = choices[:PAIRED], choices[PAIRED:]
    draw = random.Random(0)
    open_pairs = set().union(*map(pairs_of, itertools.product(*paired)))
    combinations = []
    while open_pairs or len(combinations) < max(map(len, free)):
        candidates = [[draw.choice(names) for names in paired] for _ in range(60)]
        if open_pairs:
            (a, x), (b, y) = min(open_pairs)
            for candidate in candidates:
                candidate[a], candidate[b] = x, y  # at least this pair is new
        best = max(candidates, key=lambda chosen: len(pairs_of(chosen) & open_pairs))
        open_pairs -= pairs_of(best)
        combinations.append(best + [names[len(combinations) % len(names)] for names in free])
    return combinations


COMBINATIONS = covering_pairs()


def test_there_is_a_choice_in_every_group():
    choices = [options(group) for group in GROUPS]
    assert all(len(names) >= 3 for names in choices)
    assert [sorted({*used}) for used in zip(*COMBINATIONS, strict=True)] == choices


@pytest.mark.parametrize("chosen", COMBINATIONS, ids="-".join)
def test_every_pair_of_options_composes(chosen):
    wanted = dict(zip(GROUPS, chosen, strict=True))
    settings = composed(*(f"{group}={option}" for group, option in wanted.items()))
    recipe = settings["recipe"]
    schedule = get_method(settings["scheduler"]["_target_"])
    if wanted["scheduler"] in ("adaptive", "largest_share"):
        assert schedule is adaptive.AdaptiveSchedule
    else:
        assert schedule is getattr(dcps, f"{wanted['scheduler'].capitalize()}Schedule")
    assert settings["scheduler"]["start"] == recipe["start"]
    assert settings["scheduler"].get("epochs", settings["epochs"]) == settings["epochs"]
    rule = "instance" if wanted["memory"] == "dcmip" else wanted["memory"]
    assert settings["memory"]["update"] == rule
    assert settings["memory"]["tau_w"] == recipe["tau_w"]
    assert get_method(settings["loss"]["_target_"]) is LOSSES[wanted["loss"]]
    if wanted["loss"] == "soft_contrastive":
        assert settings["loss"]["smoothing"] == recipe["smoothing"]
    assert settings["optimizer"]["algorithm"] == wanted["optimizer"]
    assert settings["dataset"]["name"] == wanted["dataset"]
    assert settings["model"]["backbone"].partition("/")[0] == wanted["model"]


# METHOD, table of the published recipes.
PUBLISHED = {
    "market1501": {"start": 0.7, "tau_w": 0.03, "epsilon": 0.3, "epochs": 70, "seed": 3407},
    "dukemtmc": {"start": 0.7, "tau_w": 0.07, "epsilon": 0.1, "epochs": 70, "seed": 1},
    "msmt17": {"start": 0.8, "tau_w": 0.6, "epsilon": 0.1, "epochs": 80, "seed": 1},
}
FIGURES = {
    "market1501": {"mAP": 86.6, "rank1": 94.1, "rank5": 98.0, "rank10": 98.9},
    "dukemtmc": {"mAP": 74.0, "rank1": 85.4, "rank5": 92.2, "rank10": 93.9},
    "msmt17": {"mAP": 31.6, "rank1": 62.3, "rank5": 73.4, "rank10": 77.9},
}


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_a_dataset_alone_is_the_published_recipe(dataset):
    settings, recipe = composed(f"dataset={dataset}"), PUBLISHED[dataset]
    assert settings["seed"] == recipe["seed"]
    assert settings["epochs"] == recipe["epochs"]
    assert settings["iterations"] == 200
    assert settings["eval_every"] == 2
    assert settings["batch"] == {"clusters": 16, "instances": 16}
    assert settings["image"] == {"height": 256, "width": 128, "fit": "stretch"}
    augmentation = dict(settings["augmentation"])
    assert (augmentation.pop("padding"), augmentation.pop("flip"), augmentation.pop("erase")) == (
        10, 0.5, 0.5
    )  # fmt: skip
    assert augmentation.pop("rotate") == "none"
    assert not any(augmentation.values())  # whatever else there is, is off
    assert settings["teacher"] == {"start": 99, "cap": 0.999}
    assert settings["scheduler"] == {
        "_target_": "dccc_lightning.clustering.dcps.ExponentialSchedule",
        "start": recipe["start"],
        "floor": 0.399,
        "rate": 0.99,
    }
    assert settings["memory"] == {
        "_target_": "dccc_lightning.memory.ClusterMemory",
        "update": "dycl",
        "momentum": 0.1,
        "temperature": 0.05,
        "tau_w": recipe["tau_w"],
    }
    assert settings["loss"] == {
        "_target_": "dccc_lightning.losses.SoftContrastiveLoss",
        "smoothing": recipe["epsilon"],
        "weight": 1.0,
    }
    assert settings["clustering"]["k1"] == 30
    assert settings["clustering"]["k2"] == 6
    assert settings["clustering"]["algorithm"] == {
        "_target_": "dccc_lightning.clustering.algorithms.DBSCAN",
        "min_samples": 4,
    }
    assert settings["optimizer"] == {
        "_target_": "dccc_lightning.training.optimization.Optimization",
        "algorithm": "adam",
        "lr": 3.5e-4,
        "weight_decay": 5e-4,
        "warmup_epochs": 10,
        "warmup_start": 0.1,
        "schedule": "constant",
        "step_epochs": 20,
        "step_factor": 0.1,
        "epochs": recipe["epochs"],
    }
    assert settings["model"] == {
        "_target_": "dccc_lightning.models.embedder.build_embedder",
        "backbone": "resnet50",
        "width": 1.0,
        "pooling": "avg",
        "embedding_dim": None,
        "weights": "imagenet",
        "dialect": "auto",
        "bn_group_size": 64,
        "freeze": [],
    }
    assert settings["published"] == FIGURES[dataset]
    assert settings["notice"] is None
    assert settings["trainer"]["precision"] == "32-true"


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_the_experiment_is_the_dataset_alone(dataset):
    assert composed(f"experiment=dccc_{dataset}") == composed(f"dataset={dataset}")


def test_without_arguments_it_is_the_synthetic_run_and_says_so():
    settings = composed()
    assert settings == composed("dataset=synthetic")
    assert settings["model"]["backbone"] == "resnet10"
    assert settings["model"]["weights"] == "bundled"
    assert settings["published"] is None
    assert "not a published benchmark" in settings["notice"]


LINE = (
    "seed=5", "epochs=3", "recipe.start=0.65", "memory.tau_w=0.2", "batch.clusters=4",
    "teacher.cap=0.9", "model.bn_group_size=32", "scheduler=linear", "optimizer=sgd",
    "model=resnet18",
)  # fmt: skip


@pytest.mark.parametrize("choice", ["dataset=msmt17", "experiment=dccc_msmt17"])
@pytest.mark.parametrize("first", [True, False], ids=["choice first", "choice last"])
def test_the_command_line_wins(choice, first):
    settings = composed(choice, *LINE) if first else composed(*LINE, choice)
    assert (settings["seed"], settings["epochs"]) == (5, 3)
    assert settings["scheduler"]["_target_"].endswith("LinearSchedule")
    assert settings["scheduler"]["start"] == 0.65
    assert settings["memory"]["tau_w"] == 0.2
    assert settings["loss"]["smoothing"] == 0.1  # the rest is the dataset's
    assert settings["batch"] == {"clusters": 4, "instances": 16}
    assert settings["teacher"] == {"start": 99, "cap": 0.9}
    assert settings["optimizer"]["algorithm"] == "sgd"
    assert (settings["model"]["backbone"], settings["model"]["bn_group_size"]) == ("resnet18", 32)
    assert settings["dataset"]["name"] == "msmt17"


# alibaba/cluster-contrast-reid 57b62e9: epochs, iterations and pooling; eps is 0.6 everywhere.
BASELINES = {
    "market1501": (50, 200, "gem"),
    "dukemtmc": (50, 200, "gem"),
    "msmt17": (50, 400, "gem"),
    "veri776": (50, 400, "gem"),
    "synthetic": (16, 30, "avg"),
    "synthetic_video": (16, 30, "avg"),
}


@pytest.mark.parametrize("dataset", options("dataset"))
def test_cluster_contrast_is_the_script_of_its_authors_on_any_dataset(dataset):
    settings = composed("experiment=cluster_contrast", f"dataset={dataset}")
    expected = dict(composed(f"dataset={dataset}"))
    assert settings["scheduler"] == {
        "_target_": "dccc_lightning.clustering.dcps.FixedSchedule",
        "start": 0.6,
    }
    assert settings["memory"]["update"] == "instance"
    assert settings["loss"] == {"_target_": "dccc_lightning.losses.ClusterContrastLoss"}
    epochs, iterations, pooling = BASELINES.get(dataset, (50, 200, "gem"))
    expected |= {key: settings[key] for key in ("scheduler", "memory", "loss")}
    expected["published"] = None  # the dataset's row is that of DCCC
    expected |= {"epochs": epochs, "iterations": iterations}
    expected["recipe"] = expected["recipe"] | {"start": 0.6}
    expected["model"] = expected["model"] | {"pooling": pooling}
    expected["optimizer"] = expected["optimizer"] | {
        "schedule": "step", "warmup_epochs": 0, "epochs": epochs
    }  # fmt: skip
    assert settings == expected
    constants = {"lr": 3.5e-4, "weight_decay": 5e-4, "step_epochs": 20, "step_factor": 0.1}
    assert settings["optimizer"].items() >= constants.items()


# haichuntai/NCPLR-ReID cfdbccc, run.sh and ncplr_train.py: epochs, eps and reach of neighbours.
NEIGHBOURS = {
    "market1501": (60, 0.4, 0.2),
    "veri776": (60, 0.6, 0.3),
    "personx": (60, 0.7, 0.2),
    "synthetic": (16, 0.6, 0.3),
    "synthetic_video": (16, 0.6, 0.3),
}
# Trangle12/DCMIP dfe3563, run_code.sh and cm.py, and haichuntai/NCPLR-ReID 842f07a,
# gl-ncplr_train.py: iterations, eps, rule, first epoch with instances.
PROXIES = {
    "market1501": (200, 0.45, "hard", 20),
    "synthetic": (30, 0.6, "instance", 7),
    "synthetic_video": (30, 0.6, "instance", 7),
}


@pytest.mark.parametrize("dataset", options("dataset"))
def test_ncplr_and_dcmip_are_cluster_contrast_with_the_settings_of_their_code(dataset):
    epochs, eps, within = NEIGHBOURS.get(dataset, (60, 0.7, 0.3))
    assert composed("experiment=ncplr", f"dataset={dataset}") == composed(
        "experiment=cluster_contrast", f"dataset={dataset}", "loss=ncplr", f"epochs={epochs}",
        f"recipe.start={eps}", f"loss.within={within}", "teacher.start=0", "teacher.cap=0.99",
    )  # fmt: skip
    iterations, eps, rule, first = PROXIES.get(dataset, (200, 0.7, "instance", 20))
    assert composed("experiment=dcmip", f"dataset={dataset}") == composed(
        "experiment=cluster_contrast", f"dataset={dataset}", "memory=dcmip", f"recipe.start={eps}",
        f"iterations={iterations}", f"memory.update={rule}", f"memory.instances_from={first}",
    )  # fmt: skip


@pytest.mark.parametrize("dataset", options("dataset"))
def test_dccc_plus_adds_to_dccc_on_any_recipe_what_was_found_to_help(dataset):
    chosen = ["memory=instance", "clustering.camera=whiten", "clustering.outliers=single"]
    by_hand = composed("experiment=dccc", f"dataset={dataset}", *chosen, "published=null")
    assert composed("experiment=dccc_plus", f"dataset={dataset}") == by_hand


@pytest.mark.parametrize("dataset", options("dataset"))
def test_ca_jaccard_is_cluster_contrast_at_the_eps_of_its_paper(dataset):
    settings = composed("experiment=ca_jaccard", f"dataset={dataset}")
    by_hand = composed(
        "experiment=cluster_contrast", f"dataset={dataset}", "clustering.camera=ca_jaccard",
        f"scheduler.start={0.4 if dataset == 'market1501' else 0.6}", "model.pooling=avg",
    )  # fmt: skip
    assert settings == by_hand
    assert {k: v for k, v in settings["clustering"].items() if k[:2] in ("k1", "k2")} == {
        "k1": by_hand["clustering"]["k1"], "k2": 6,
        "k1_intra": 5, "k1_inter": 20, "k2_intra": 2, "k2_inter": 4,
    }  # fmt: skip


def test_dccc_ca_is_dccc_on_camera_aware_distances():
    for dataset in ("market1501", "synthetic"):
        changes = "clustering.camera=ca_jaccard", "published=null"
        by_hand = composed("experiment=dccc", f"dataset={dataset}", *changes)
        assert composed("experiment=dccc_ca", f"dataset={dataset}") == by_hand


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes(experiment):
    settings = composed(f"experiment={experiment}")
    assert callable(get_method(settings["task"]["_target_"]))


def test_an_experiment_wins_over_the_dataset_that_it_chooses():
    settings, dataset = composed("experiment=pretrain_synthetic"), composed("dataset=synthetic")
    assert settings["dataset"]["name"] == "synthetic-source"
    assert settings["dataset"]["seed"] != dataset["dataset"]["seed"]
    assert settings["batch"] != dataset["batch"]
    assert settings["image"] == dataset["image"]  # what it does not mention is the dataset's


def node(group, option, **kwargs):
    return instantiate(composed(f"{group}={option}")[group], **kwargs, _convert_="all")


@pytest.mark.parametrize("option", options("scheduler"))
def test_schedulers_instantiate(option):
    assert 0.3 < node("scheduler", option)(0) <= 0.7


@pytest.mark.parametrize("option", options("memory"))
def test_memories_instantiate(option):
    memory = node("memory", option, feature_dim=8)
    memory.rebuild(torch.eye(8)[:4], torch.tensor([0, 0, 1, 1]))
    assert memory.centroids.shape == (2, 8)


@pytest.mark.parametrize("option", options("loss"))
def test_losses_instantiate(option):
    loss = node("loss", option)
    assert type(loss) is LOSSES[option]
    assert loss.uses_teacher == (option != "cluster_contrast")


@pytest.mark.parametrize("option", options("optimizer"))
def test_optimizers_instantiate(option):
    optimizer = node("optimizer", option).optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer).__name__.lower() == option


@pytest.mark.parametrize(
    "option",
    [
        pytest.param(option, marks=needs_infomap if option == "infomap" else ())
        for option in options("clustering")
    ],
)
def test_clusterings_instantiate(option):
    labeler = node("clustering", option)
    assert type(labeler.algorithm).__name__.lower() == option.replace("_", "")


@pytest.mark.parametrize("option", options("model"))
def test_models_instantiate(option):
    settings = composed("dataset=market1501", f"model={option}", "model.weights=null")["model"]
    with torch.device("meta"):
        embedder = instantiate(settings, _convert_="all")
    dims = {"resnet10": 256, "resnet18": 512, "resnet34": 512, "osnet": 512, "vit_small": 384}
    dims |= {"mobilenet_v2": 1280, "clip_vit_base": 1280, "vit_base": 768}
    expected = dims.get(option, 2048)
    assert embedder.feature_dim == expected


@pytest.mark.parametrize("option", [name for name in options("dataset") if name != "several"])
def test_datasets_instantiate_without_reading(option, tmp_path):
    settings = dict(composed(f"dataset={option}", f"dataset.root={tmp_path}")["dataset"])
    assert settings.pop("on_error") == "fail"
    assert settings.pop("cache") == "auto"
    assert instantiate(settings, _convert_="all").name == option


@pytest.mark.parametrize("option", options("callbacks"))
def test_callbacks_instantiate(option, tmp_path):
    settings = composed(f"callbacks={option}", output=str(tmp_path))
    entries = settings["callbacks"].items()
    made = [build_callback(settings, name) for name, entry in entries if entry]
    assert all(isinstance(callback, pl.Callback) for callback in made)
    assert any(isinstance(callback, Recluster) for callback in made) == (option == "default")


@pytest.mark.parametrize("option", options("logger"))
def test_loggers_instantiate(option, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    entries = composed(f"logger={option}", output=str(tmp_path))["logger"]
    if option == "mlflow":  # tests/test_trackers.py makes it, with its database
        given = {key: value for key, value in entries["mlflow"].items() if key != "_target_"}
        assert inspect.signature(RunMLFlowLogger).bind(**given)
        return
    made = [instantiate(entry, _convert_="all") for entry in entries.values()]
    assert len(made) == (option != "csv")


@pytest.mark.parametrize("option", options("trainer"))
def test_the_trainers_arguments_are_lightnings(option):
    arguments = composed(f"trainer={option}")["trainer"]
    assert set(arguments) <= set(inspect.signature(pl.Trainer).parameters)
    assert arguments["accelerator"] == {"default": "auto"}.get(option, option)


@pytest.mark.parametrize("option", options("task"))
def test_tasks_exist(option):
    assert callable(get_method(composed(f"task={option}")["task"]["_target_"]))


def test_every_file_begins_with_a_line_that_explains_it():
    for path in conf_dir().rglob("*.yaml"):
        lines = path.read_text().splitlines()
        first = next(line for line in lines if line != "# @package _global_")
        assert first.startswith("# "), path
        assert len(first.split()) > 3, path


@pytest.mark.parametrize(
    ("dataset", "changes", "expected"),
    [
        ("market1501", [], True),
        ("dukemtmc", [], True),
        ("msmt17", ["dataset.root=/data", "trainer=cpu", "loader.workers=2", "output=x"], True),
        ("dukemtmc", ["epochs=3"], False),
        ("msmt17", ["model=vit_small"], False),
        ("market1501", ["seed=77"], False),
        ("dukemtmc", ["batch.clusters=8"], False),
        ("msmt17", ["experiment=dccc_plus"], False),
        ("market1501", ["evaluate.camera_center=true"], False),
    ],
)
def test_only_the_preset_itself_is_the_published_run(dataset, changes, expected):
    settings = composed(f"dataset={dataset}", *changes)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert preset_diff.is_published(settings) is expected


CLIP = {
    "model.backbone": "clip_vit_base", "model.weights": "clip", "model.freeze": ["patch_embed"],
    "model.bn_group_size": 256, "model.layout": {"normalization": "imagenet"},
    "scheduler._target_": "dccc_lightning.clustering.dcps.FixedSchedule", "scheduler.start": 0.7,
    "memory.update": "instance", "memory.momentum": 0.1, "memory.temperature": 0.05,
    "loss._target_": "dccc_lightning.losses.ClusterContrastLoss", "clustering.k1": 30,
    "clustering.k2": 6, "optimizer.algorithm": "sgd", "optimizer.lr": 3.5e-4,
    "optimizer.weight_decay": 5e-4, "optimizer.momentum": 0.9, "optimizer.nesterov": False,
    "optimizer.warmup_epochs": 10, "optimizer.warmup_start": 0.01,
    "optimizer.schedule": "step", "optimizer.step_epochs": 20, "optimizer.step_factor": 0.1,
    "epochs": 60, "iterations": 200,
    "batch": {"clusters": 16, "instances": 16},
    "image": {"height": 256, "width": 128, "fit": "stretch"},
    "published": None, "dataset.name": "msmt17",
}  # fmt: skip
DCCC_ON_CLIP = {
    "scheduler._target_": "dccc_lightning.clustering.dcps.ExponentialSchedule",
    "memory.update": "dycl", "memory.tau_w": 0.6, "loss.smoothing": 0.1,
    "loss._target_": "dccc_lightning.losses.SoftContrastiveLoss",
}  # fmt: skip
TRANSREID_SSL = {
    "model.backbone": "vit_small", "model.weights": "imagenet", "model.freeze": [],
    "model.bn_group_size": 64, "model.layout": {"normalization": "half"}, "scheduler.start": 0.6,
    "memory.update": "hard", "memory.momentum": 0.2, "optimizer.warmup_epochs": 0,
    "optimizer.warmup_start": 0.1, "epochs": 50, "batch": {"clusters": 32, "instances": 8},
}  # fmt: skip
HARD = {"memory.update": "hard", "scheduler.start": 0.4, "dataset.name": "market1501"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["experiment=clip", "dataset=msmt17"], CLIP),
        (["experiment=clip_market1501"], CLIP | HARD),
        (["experiment=dccc_clip", "dataset=msmt17"], CLIP | DCCC_ON_CLIP),
        (["experiment=transreid_ssl", "dataset=msmt17"], CLIP | TRANSREID_SSL),
    ],
)
def test_the_recipes_of_transformers_are_those_of_their_code(overrides, expected):
    settings = composed(*overrides)
    for name, value in expected.items():
        given = settings
        for part in name.split("."):
            given = given[part]
        assert given == value, name


def test_an_experiment_that_names_the_published_settings_is_the_published_run():
    settings = composed("experiment=dccc_market1501")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert preset_diff.is_published(settings)
        assert not preset_diff.is_published(settings | {"dataset": {"name": "mine"}})
    assert not preset_diff.is_published(settings)  # nothing to compare with outside a command


class OwnSchedule:
    """A schedule that counts its constructions."""

    made: ClassVar[list[float]] = []

    def __init__(self, start):
        if start > 1:
            raise ValueError(f"start must be at most 1, got {start}")
        self.made.append(start)


def test_scheduler_and_clustering_are_built_once_and_named_when_refused(monkeypatch):
    monkeypatch.setattr(OwnSchedule, "made", [])
    settings = composed()
    settings["scheduler"] = {"_target_": f"{__name__}.OwnSchedule", "start": 0.5}
    callback = build_callback(settings, "recluster")
    assert isinstance(callback.schedule, OwnSchedule)
    assert callback.labeler.k1 == settings["clustering"]["k1"]
    assert OwnSchedule.made == [0.5]
    settings["scheduler"]["start"] = 2
    with pytest.raises(UserError, match=r"^scheduler.start must be at most 1, got 2$"):
        build_callback(settings, "recluster")
    settings["clustering"]["k1"] = 0
    settings["scheduler"]["start"] = 0.5
    with pytest.raises(UserError, match=r"^clustering.k1 must be"):
        build_callback(settings, "recluster")
