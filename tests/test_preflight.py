"""Mistakes are answered before torch is imported, and by the checks of the constructors."""

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import dccc_lightning
from dccc_lightning.cli import conf_dir
from dccc_lightning.common import ranges
from dccc_lightning.config.preflight import CHECKS, LIGHT, PACKAGE, check_group
from dccc_lightning.errors import UserError
from dccc_lightning.models import catalog

HEAVY = ("torch", "torchvision", "pytorch_lightning", "lightning_fabric", "wandb", "sklearn",
         "numba", "faiss", "matplotlib", "scipy")  # fmt: skip

CPU = "trainer=cpu"
MISTAKES = [  # each answered in one line, which has the second
    (["dataset=msmt17", "dataset.root=."], "MSMT17"),
    (["dataset=market1501", "dataset.root=nowhere"], "nowhere"),
    (["dataset=folder", "dataset.root=nowhere"], "nowhere"),
    (["task=verify", "dataset=msmt17", "dataset.root=."], "MSMT17"),
    (["task=pretrain", "dataset=last", "dataset.root=."], "no folder train"),
    (["scheduler.start=2"], "scheduler.start"),
    (["scheduler=adaptive", "scheduler.criterion=elbow"], "scheduler.criterion"),
    (["clustering.k1=0"], "clustering.k1"),
    (["clustering.algorithm.min_samples=0"], "min_samples"),
    (["clustering=hdbscan", "clustering.algorithm.closest=3"], "closest"),
    (["memory.momentum=1.5"], "memory.momentum"),
    (["+memory.moment=1"], "memory.moment: no such setting"),
    (["loss.smoothing=2"], "loss.smoothing"),
    (["optimizer.lr=0"], "optimizer.lr"),
    (["model.backbone=resnet51"], "resnet51"),
    (["model=resnet50", "model.weights=nowhere.pth"], "nowhere.pth: no such file"),
    (
        ["model.dialect=strong"],
        "model.dialect 'strong' is unknown; the nearest are strong_baseline",
    ),
    (["model=vit_small", "model.weights=null", "image.width=40"], "multiples of 16"),
    (["batch.clusters=1"], "batch.clusters"),
    (["augmentation.flip=2"], "augmentation.flip"),
    (["teacher.cap=2"], "teacher.cap"),
    (["epochs=0"], "epochs"),
    (["eval_every=0"], "eval_every"),
    (["trainer.precision=8"], "trainer.precision"),
    (["+trainer.gradient_clip_val=nan"], "gradient_clip_val must be"),
    (["+trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=max"], "norm, value"),
    ([CPU, "+trainer.fast_dev_run=true"], "trainer.fast_dev_run"),
    ([CPU, "trainer.devices=3", "dataset=folder", "dataset.root=nowhere"], "nowhere"),
    (["task=pretrain", "pretrain.label_smoothing=2"], "pretrain.label_smoothing"),
    (["task=embed", "input=train"], "ckpt= is needed"),
    (["task=embed", "ckpt=nowhere.ckpt", "input=train"], "nowhere.ckpt"),
    (["task=embed", "ckpt=bundled", "input=nowhere"], "input=nowhere"),
    (["task=identify", "ckpt=bundled", "input=nowhere"], "input=nowhere"),
    (["task=identify", "ckpt=bundled", "input=train", "threshold=2"], "threshold must be"),
    (["task=identify", "known=nowhere"], "known=nowhere"),
    (["task=index"], "give either input="),
    (["task=index", "remove=[1,2]"], "index= is needed"),
    (["task=index", "index=nowhere", "remove=[1,2]"], "nowhere: no gallery there"),
    (["task=index", "ckpt=bundled", "input=nowhere"], "input=nowhere"),
    (["task=search", "ckpt=bundled", "index=nowhere", "query=a.jpg"], "nowhere: no gallery there"),
    (["task=search", "index=nowhere"], "query= is needed"),
    (["task=calibrate", "labels=pseudo", "input=train", "scheduler.start=2"], "scheduler.start"),
    (["task=evaluate", "ckpt=nowhere.ckpt"], "nowhere.ckpt"),
    (["task=evaluate", "model.backbone=resnet51"], "resnet51"),
    (["task=evaluate", "ckpt=bundled", "dataset=msmt17", "dataset.root=."], "MSMT17"),
    (["task=evaluate", "ckpt=bundled", "datasets=[msmt17]"], "MSMT17"),
    (["task=evaluate", "ckpt=bundled", "datasets=[nowhere]"], "no dataset nowhere"),
    (["task=evaluate", "ckpt=bundled", "reranking.weight=2"], "reranking.weight"),
    (["task=export"], "ckpt= is needed"),
]

SCRIPT = """
import io, json, sys
from contextlib import redirect_stderr
from hydra.core.global_hydra import GlobalHydra
from dccc_lightning import cli
answers = []
for words in json.load(sys.stdin):
    sys.argv = ["dccc_lightning", *words]
    GlobalHydra.instance().clear()
    with redirect_stderr(io.StringIO()) as said:
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    heavy = sorted(set(json.loads(sys.argv0)) & set(sys.modules))
    answers.append([code, said.getvalue(), heavy])
    if heavy:
        break
print(json.dumps(answers))
""".replace("sys.argv0", repr(json.dumps(HEAVY)))


@pytest.mark.slow
def test_a_mistake_is_answered_without_torch(tmp_path: Path) -> None:
    commands = [[*words, f"output=out{number}"] for number, (words, _) in enumerate(MISTAKES)]
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(commands), cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout.splitlines()[-1])
    for (words, expected), (code, said, heavy) in zip(MISTAKES, answers, strict=False):
        assert not heavy, (words, heavy)
        assert code == 2, (words, said)
        assert expected in said.splitlines()[-1], (words, said)
    assert len(answers) == len(MISTAKES)
    assert not list(tmp_path.iterdir())  # nothing is left behind


def targets(node: object) -> list[str]:
    """Every ``_target_`` in a configuration."""
    if not isinstance(node, dict):
        return []
    own = [node["_target_"]] if "_target_" in node else []
    return own + [target for part in node.values() for target in targets(part)]


@pytest.mark.slow
def test_a_run_without_wandb_and_tensorboard_imports_neither() -> None:
    parts = [
        target
        for name in ("callbacks/default.yaml", "model/resnet50.yaml")
        for target in targets(yaml.safe_load((conf_dir() / name).read_text()))
    ]
    modules = [target.rpartition(".")[0] for target in parts]
    assert "dccc_lightning.training.callbacks.wandb_panels" in modules
    script = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; "
    check = "sys.exit(' '.join({'wandb', 'tensorboard'} & set(sys.modules)) or 0)"
    run = ["dccc_lightning.tasks.train", "dccc_lightning.config.build", *modules]
    ended = subprocess.run(
        [sys.executable, "-c", script + check, *run], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_every_part_that_is_configured_is_checked_early() -> None:
    configured = {
        target.removeprefix(PACKAGE)
        for path in conf_dir().rglob("*.yaml")
        for target in targets(yaml.safe_load(path.read_text()))
        if target.startswith(PACKAGE)
    }
    without_values = {f"training.callbacks.{name}" for name in (
        "eps_curves.EpsCurves", "progress_bar.PhaseProgress", "recluster.Recluster",
        "metrics_csv.MetricsTable", "time_estimate.TimeEstimate", "timings.Timings",
        "projector.TensorBoardProjector", "wandb_panels.WandbPanels",
    )}  # fmt: skip
    others = ("cli.", "sweeps.", "tasks.", "training.wandb_logger.", "training.mlflow_logger.")
    checked = {t for t in configured if not t.startswith((*LIGHT, *others))} - without_values
    assert checked == set(CHECKS)


@pytest.mark.parametrize("target", sorted(CHECKS))
def test_a_check_takes_what_its_class_takes(target: str) -> None:
    module, name = target.rsplit(".", 1)
    theirs = inspect.signature(getattr(import_module(PACKAGE + module), name)).parameters
    ours = inspect.signature(CHECKS[target]).parameters
    given = set(theirs) - {"feature_dim"}  # by the package itself
    assert set(ours) == given
    for key, parameter in ours.items():
        if key not in ("algorithm",):
            assert parameter.default == theirs[key].default, key


def test_a_class_of_the_users_own_is_left_to_itself() -> None:
    check_group("memory", {"_target_": "mine.Memory", "anything": 3})
    with pytest.raises(UserError, match="no such setting"):
        check_group("memory", {"_target_": "dccc_lightning.memory.ClusterMemory", "anything": 3})


def test_light_modules_import_nothing_heavy() -> None:
    for module in (ranges, catalog):
        tree = ast.parse(Path(module.__file__ or "").read_text())
        names = {n.names[0].name for n in ast.walk(tree) if isinstance(n, ast.Import)}
        assert not names & set(HEAVY)


def changes_something(node: ast.stmt) -> bool:
    """Tell whether a statement of a module reaches out of it when it is imported."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
        places = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
        return any(not isinstance(place, (ast.Name, ast.Tuple)) for place in places)
    if isinstance(node, (ast.If, ast.Try, ast.For, ast.With)):
        return any(changes_something(inner) for inner in node.body)
    return not isinstance(
        node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.AnnAssign)
    )


def test_importing_a_module_changes_nothing_of_the_process() -> None:
    found = [
        f"{path}, line {node.lineno}"
        for path in Path(dccc_lightning.__file__).parent.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if changes_something(node) and path.name != "__main__.py"
    ]
    assert not found


@pytest.mark.parametrize(
    "line",
    ["logging.raiseExceptions = False", "os.register_at_fork(f)", "os.environ['A'] = '1'",
     "if x:\n    torch.set_num_threads(1)"],
)  # fmt: skip
def test_the_rule_knows_what_a_change_is(line: str) -> None:
    assert any(changes_something(node) for node in ast.parse(line).body)
