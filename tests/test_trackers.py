"""Other trackers, each with its real library and without a network: MLflow, TensorBoard, W&B."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command
from dccc_lightning.config import mlflow_store
from dccc_lightning.config.loggers import build_logger
from dccc_lightning.config.mlflow_store import RUN_ID, store
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.reports.metrics_table import read_rows
from dccc_lightning.training.callbacks.projector import metadata, squares

FAST = ["model.weights=null", "eval_every=1"]
ENTRY = {
    "_target_": "dccc_lightning.training.mlflow_logger.RunMLFlowLogger", "tracking_uri": None,
    "experiment_name": "test", "run_name": None, "tags": None, "log_model": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_a_folder_holds_a_database_and_addresses_stay(tmp_path: Path) -> None:
    own = store(None, tmp_path)
    assert own["tracking_uri"] == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert own["artifact_location"] == (tmp_path / "mlflow" / "artifacts").as_uri()
    for given in (str(tmp_path / "a b"), (tmp_path / "a b").as_uri()):
        assert store(given, tmp_path)["tracking_uri"] == f"sqlite:///{tmp_path}/a b/mlflow.db"
    for given in ("https://host:5000/mlflow", "sqlite:///x.db", "databricks"):
        assert store(given, tmp_path) == {"tracking_uri": given}
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"logger\.mlflow\.tracking_uri=.*/file"):
        store(str(tmp_path / "file"), tmp_path)


def test_without_mlflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_store, "find_spec", lambda name: None if name == "alembic" else 1)
    with pytest.raises(UserError, match=r"needs alembic: pip install 'dccc-lightning\[mlflow\]'"):
        build_logger(ENTRY, tmp_path)


def test_the_projectors_table_has_a_row_for_each_image(tmp_path: Path) -> None:
    train = Records.from_rows([(Path(f"a\t{n}.jpg"), n % 2 if n else -1, n) for n in range(4)])
    none = Records.from_rows([])
    splits = Splits("mine", tmp_path, train, none, none, camera_names=("x", "y", "z", "front door"))
    header, rows = metadata(splits, np.array([0, -1, 5, 5]), np.array([0, 1, 3]))
    assert header == ["file", "cluster", "identity", "camera"]
    assert rows == [["a 0.jpg", "0", "unknown", "x"], ["a 1.jpg", "-1", "1", "y"],
                    ["a 3.jpg", "5", "1", "front door"]]  # fmt: skip
    unknown = Splits("mine", tmp_path, Records.from_rows([(Path("a.jpg"), -1, -1)]), none, none)
    assert metadata(unknown, np.array([0]), np.array([0])) == (
        ["file", "cluster"],
        [["a.jpg", "0"]],
    )


def test_images_of_the_projector_are_square_and_in_the_middle() -> None:
    pixels = np.full((2, 6, 3, 3), 255, dtype=np.uint8)
    found = squares(pixels).numpy()
    assert found.shape == (2, 3, 6, 6)
    assert found[:, :, :, 1:4].min() == 1
    assert found[:, :, :, [0, 4, 5]].max() == 0


@pytest.mark.slow
def test_a_run_in_all_trackers_at_once(command: Command, tiny: list[str], tmp_path: Path) -> None:
    client_of = pytest.importorskip("mlflow.tracking").MlflowClient
    tiny = [argument for argument in tiny if argument != "callbacks.panels=null"]
    outcome = command(*tiny, *FAST, "logger=[wandb,tensorboard,mlflow]",
                      "logger.mlflow.log_model=true", "output=run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert not re.search("(?i)mlflow|alembic", outcome.out + outcome.err)
    run = tmp_path / "run"
    rows = [row for row in read_rows(run / "metrics.csv") if "val/mAP" in row]

    # MLflow
    client = client_of(store(None, run)["tracking_uri"])
    run_id = (run / RUN_ID).read_text().strip()
    found = client.get_run(run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert found.data.params["scheduler/start"]
    history = client.get_metric_history(run_id, "val/mAP")
    assert [point.value for point in history] == pytest.approx([r["val/mAP"] for r in rows])
    kept = {place.path for place in client.list_artifacts(run_id)}
    assert {"best", "last"} & kept
    assert client.get_experiment(found.info.experiment_id).name == "dccc-lightning"

    # TensorBoard's projector
    folder = run / "tensorboard"
    config = (folder / "projector_config.pbtxt").read_text()
    places = dict(re.findall(r'(\w+_path): "([^"]+)"', config))
    vectors = np.loadtxt(folder / places["tensor_path"], delimiter="\t")
    table = [
        line.split("\t") for line in (folder / places["metadata_path"]).read_text().splitlines()
    ]
    assert table[0] == ["file", "cluster", "identity", "camera"]
    assert len(table) == len(vectors) + 1
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(vectors)), abs=0.01)
    side = int(re.search(r"single_image_dim: (\d+)", config)[1])
    with Image.open(folder / places["image_path"]) as sprite:
        across = int(np.ceil(len(vectors) ** 0.5))
        assert sprite.size == (across * side, across * side)
        assert max(sprite.size) <= 8192
        assert len(sprite.getcolors(1 << 20)) > 50

    # W&B's terminal tool reads the offline run
    told = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", run / "wandb"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "val/mAP" in json.dumps(json.loads(told.stdout))

    # resumed, it goes on in the same run
    assert command("resume=run", "epochs=3").code == 0
    assert (run / RUN_ID).read_text().strip() == run_id
    assert len(client.get_metric_history(run_id, "val/mAP")) == len(rows) + 1
    assert client.get_run(run_id).data.params["epochs"] == "2"  # MLflow refuses to change it


@pytest.mark.slow
def test_jobs_of_a_sweep_are_a_group(command: Command, tiny: list[str], tmp_path: Path) -> None:
    client_of = pytest.importorskip("mlflow.tracking").MlflowClient
    shared = tmp_path / "tracked"
    outcome = command(
        "-m", *tiny, "model.weights=null", "epochs=1", "seed=1,2", "logger=[wandb,mlflow]",
        f"logger.mlflow.tracking_uri={shared}", "hydra.sweep.dir=grid",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    client = client_of(store(str(shared), tmp_path)["tracking_uri"])
    (experiment,) = (e for e in client.search_experiments() if e.name == "dccc-lightning")
    runs = client.search_runs([experiment.experiment_id], "tags.sweep = 'grid'")
    assert sorted(run.info.run_name for run in runs) == ["grid/0", "grid/1"]
    for job in ("0", "1"):
        (config,) = (tmp_path / "grid" / job).rglob("run-*.wandb")
        assert b"grid/" + job.encode() in config.read_bytes()


BUILD = """
import json, sys
from pathlib import Path
from dccc_lightning.config.loggers import build_logger
build_logger(json.loads(sys.argv[1]), Path(sys.argv[2])).finalize("success")
"""


@pytest.mark.slow
def test_jobs_that_start_at_once_share_a_new_folder(tmp_path: Path) -> None:
    client_of = pytest.importorskip("mlflow.tracking").MlflowClient
    entry = json.dumps({**ENTRY, "tracking_uri": str(tmp_path / "shared")})
    jobs = [tmp_path / str(n) for n in range(3)]
    for job in jobs:
        job.mkdir()
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, entry, job], stderr=subprocess.PIPE, text=True
        )
        for job in jobs
    ]
    told = [one.communicate(timeout=300)[1] for one in begun]
    assert [one.returncode for one in begun] == [0] * 3, told
    assert not any("INFO" in text for text in told)  # of tables that MLflow makes
    client = client_of(store(str(tmp_path / "shared"), tmp_path)["tracking_uri"])
    (experiment,) = (e for e in client.search_experiments() if e.name == "test")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id for run in runs} == {(j / RUN_ID).read_text().strip() for j in jobs}


@pytest.mark.slow
def test_a_server_out_of_reach_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(UserError, match=r"logger=mlflow: .* logs on this machine") as caught:
        build_logger({**ENTRY, "tracking_uri": "http://127.0.0.1:9"}, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / RUN_ID).exists()
