"""Weights & Biases: what an offline run holds, read back; a server out of reach; dashboards."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import wandb
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

import dccc_lightning
from conftest import Command
from dccc_lightning.cli import conf_dir
from dccc_lightning.config.loggers import RUN_ID, build_logger
from dccc_lightning.config.processes import cleanup
from dccc_lightning.data.fingerprint import fingerprint
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.reports.code_version import code_version
from dccc_lightning.reports.metrics_table import read_rows
from dccc_lightning.reports.panels import Panel, read_panels
from dccc_lightning.reports.wandb_media import to_media
from dccc_lightning.reports.wandb_workspace import (
    PARTS,
    SWEPT,
    TALL,
    specification,
    sweep_report,
    workspace,
)
from dccc_lightning.training.callbacks.wandb_panels import WandbPanels
from wandb_records import read_config, read_history, read_records

FAST = ["model.weights=null", "logger=wandb", "eval_every=1"]
FIGURES = ("train/", "cluster/", "val/", "val_teacher/", "val_best/")


@pytest.fixture(autouse=True)
def without_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def record_files(run: Path) -> list[Path]:
    return sorted(run.rglob("run-*.wandb"))


def table(record_file: Path, row: dict[str, Any], name: str) -> dict[str, list[Any]]:
    """Columns of a panel's table, from the file that a row of the history names."""
    path = record_file.parent / "files" / row[f"tables/{name}.path"]
    content = json.loads(path.read_text())
    assert len(content["data"]) == row[f"tables/{name}.nrows"]
    columns = zip(*content["data"], strict=True)
    return dict(zip(content["columns"], map(list, columns), strict=True))


@pytest.mark.slow
def test_an_offline_run_holds_everything_that_there_is_to_see(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    tiny = [argument for argument in tiny if not argument.startswith("callbacks.")]
    outcome = command(*tiny, *FAST, "logger.wandb.checkpoints=all", "output=run")
    assert outcome.out.count("W&B: offline in ") == 1
    assert "wandb: " not in outcome.out + outcome.err  # W&B itself is silent
    assert outcome.code == 0, outcome
    run = tmp_path / "run"
    (path,) = record_files(run)
    history = read_history(path)

    # scalars: the rows of metrics.csv, by epoch and by step
    rows = read_rows(run / "metrics.csv")
    assert [row["epoch"] for row in history] == [-1, 0, 1]
    assert [row["_step"] for row in history] == [0, 2, 4]
    assert [row["trainer/global_step"] for row in history] == [0, 1, 3]
    for row, logged in zip(rows, history, strict=True):
        for name, value in row.items():
            if name.startswith(FIGURES):
                assert logged[name] == pytest.approx(value, rel=1e-5), name
    assert "train/loss_step" in history[1]
    seconds = [row["total"] for row in read_rows(run / "timings.csv")]
    assert [row["system/total_seconds"] for row in history] == pytest.approx(seconds)
    axes = {r.metric.name: r.metric.step_metric for r in read_records(path) if r.metric.name}
    assert {axes[name] for row in rows for name in row if name.startswith(FIGURES)} == {"epoch"}
    assert axes["panels/map"] == axes["tables/map"] == axes["system/total_seconds"] == "epoch"
    assert "train/loss_step" not in axes  # by Lightning's rule for all others: the global step

    # panels: each picture, and each figure behind it
    panels = {name: panel.data for name, (panel, _) in read_panels(run / "panels").items()}
    shown = {name for name in panels if not name.startswith("thumbnails/")}
    assert {"map", "distances", "sizes", "flow", "rankings", "clusters/largest"} <= shown
    last = history[-1]
    for name in shown:
        assert (path.parent / "files" / last[f"panels/{name}.path"]).stat().st_size > 500
        if name == "rankings":
            tiles = [tile for row in panels[name]["rows"] for tile in row["tiles"]]
            columns = table(path, last, name)
            for part in ("key", "caption", "frame"):
                assert columns[part] == [tile[part] for tile in tiles]
            lengths = [len(row["tiles"]) for row in panels[name]["rows"]]
            assert columns["number"] == np.repeat(range(len(lengths)), lengths).tolist()
    columns = table(path, last, "clusters")  # one, with a row for each cluster on a board
    boards = {name: data["rows"] for name, data in panels.items() if name.startswith("clusters/")}
    on = {row["title"]: [] for board in boards.values() for row in board}
    for name, board in boards.items():
        for row in board:
            on[row["title"]].append(name.removeprefix("clusters/"))
    told = zip(columns["cluster"], columns["boards"], strict=True)
    assert {title: sorted(names.split(", ")) for title, names in told} == {
        title: sorted(names) for title, names in on.items()
    }
    assert any("," in names for names in columns["boards"])
    columns = table(path, last, "map")
    points = [list(point) for point in zip(columns["x"], columns["y"], strict=True)]
    assert points == panels["map"]["points"]
    assert [-1 if c == "outlier" else int(c) for c in columns["cluster"]] == panels["map"][
        "cluster"
    ]
    assert columns["identity"] == panels["map"]["identity_names"]
    assert columns["camera"] == panels["map"]["camera_names"]
    columns = table(path, last, "distances")
    assert [*columns["from"], columns["to"][-1]] == [*panels["distances"]["edges"], 1.0]
    counts = panels["distances"]["clusters"]
    assert columns["clusters: within"] == [*counts["within"], counts["within_beyond"]]
    assert set(columns["eps"]) == {rows[-1]["cluster/eps"]}
    columns = table(path, last, "sizes")
    assert columns["images"] == [*panels["sizes"]["sizes"], panels["sizes"]["outliers"]]
    columns = table(path, last, "flow")
    assert dict(zip(columns["what"], columns["count"], strict=True)) == panels["flow"]
    assert "panels/map.path" not in history[1]  # the last epoch alone has panels here

    # configuration, data, code, checkpoints
    config = read_config(path)
    assert config["scheduler"]["start"] == config["recipe"]["start"]
    assert config["dataset_fingerprint"]["train"] == len(panels["map"]["cluster"])
    assert len(config["dataset_fingerprint"]["sha256"]) == 64
    assert config["code"] == code_version()
    artifacts = {
        record.artifact.name: list(record.artifact.manifest.contents)
        for record in read_records(path)
        if record.WhichOneof("record_type") == "artifact"
    }
    run_id = (run / RUN_ID).read_text().strip()
    for name in ("best", "last"):
        (entry,) = artifacts[f"{run_id}-{name}"]
        assert entry.local_path == str((run / "checkpoints" / f"{name}.ckpt").resolve())
    # the images of the tables wait for their upload where the run is
    staged = [e.local_path for contents in artifacts.values() for e in contents]
    assert all(Path(name).is_relative_to(run.resolve()) for name in staged)
    sizes = {Image.open(n).size for n in staged if Path(n).read_bytes().startswith(b"\xff\xd8\xff")}
    width, height = panels["thumbnails/boards"]["size"]  # the images of a cluster side by side
    strips = {(width * len(row["tiles"]), height) for board in boards.values() for row in board}
    assert strips <= sizes
    assert not list((tmp_path / "home").rglob("tmp*"))


@pytest.mark.slow
def test_a_run_that_is_ended_early_has_its_panels(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    tiny = [argument for argument in tiny if not argument.startswith("callbacks.")]
    early = (
        "+callbacks.early={_target_:pytorch_lightning.callbacks.EarlyStopping,"
        "monitor:train/loss,stopping_threshold:1e9,check_on_train_epoch_end:true}"
    )
    outcome = command(*tiny, *FAST, "epochs=3", early, "output=run")
    assert outcome.code == 0, outcome
    (path,) = record_files(tmp_path / "run")
    shown = [row for row in read_history(path) if "panels/map.path" in row]
    assert [row["epoch"] for row in shown] == [0]


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_the_same_rows(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert command(*tiny, *FAST, "output=run").code == 0
    assert command("resume=run", "epochs=3").code == 0
    files = record_files(tmp_path / "run")
    assert len({path.name for path in files}) == 1
    first, second = map(read_history, files)
    assert [row["_step"] for row in first + second] == [0, 2, 4, 6]
    assert [row["epoch"] for row in first + second] == [-1, 0, 1, 2]


def test_steps_that_are_made_again_are_not_logged_again(tmp_path: Path) -> None:
    class Run:
        starting_step, dir = 101, str(tmp_path)

        def __init__(self) -> None:
            self.rows: list[int] = []

        def define_metric(self, *_: Any, **__: Any) -> None:
            pass

        def log(self, values: dict[str, Any], step: int, commit: bool) -> None:
            self.rows.append(step)

    logger = build_logger(entry(tmp_path), tmp_path)
    logger.experiment.finish()
    logger._experiment = run = Run()
    for step in (49, 99, 149, 140, 199):  # the fourth: of a callback that counts otherwise
        logger.log_metrics({"train/loss_step": 1.0}, step)
    logger.log_metrics({"mine": 1.0})
    assert run.rows == [150, 150, 200, 200]


def entry(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "_target_": "dccc_lightning.training.wandb_logger.RunWandbLogger",
        "project": "test", "mode": "offline", "group": None, "tags": None, "name": None,
        "save_dir": str(folder), "checkpoints": "none",
    } | changes  # fmt: skip


@pytest.fixture
def refusing_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A W&B server that answers everything with an error at once."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wandb.teardown()  # it reads the environment once
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    yield
    wandb.teardown()
    server.shutdown()


def test_a_run_that_cannot_begin_online_goes_on_offline_under_the_same_name(
    refusing_server: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / RUN_ID).write_text("known\n")
    for _ in range(2):  # a resume within the same process, too
        logger = build_logger(entry(tmp_path, mode="online"), tmp_path)
        assert logger.experiment.id == "known"
        assert logger.experiment.offline
        logger.experiment.finish()
    assert "W&B cannot be reached" in caplog.text
    assert len({path.parent for path in record_files(tmp_path) if "offline" in str(path)}) == 2


def test_a_job_of_a_sweep_is_in_the_group_of_its_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "ablation"
    for name in ("7", "8"):
        (sweep / name).mkdir(parents=True)
    (sweep / "multirun.yaml").touch()
    changes: tuple[dict[str, Any], ...] = ({}, {"group": "mine"})
    for output, change, group in zip(("7", "8"), changes, ("ablation", "mine"), strict=True):
        logger = build_logger(entry(sweep / output, **change), sweep / output)
        assert logger.experiment.group == group
        assert logger.experiment.name == f"ablation/{output}"
        assert "sweep" in logger.experiment.tags
        logger.experiment.finish()


def exit_codes(folder: Path) -> list[int]:
    """Of the runs below a folder, in the order of their folders.

    W&B's own process may write them a moment after the run is finished.
    """
    until = time.monotonic() + 100
    while True:
        codes = [
            record.exit.exit_code
            for path in record_files(folder)
            for record in read_records(path)
            if record.WhichOneof("record_type") == "exit"
        ]
        if codes or time.monotonic() > until:
            return codes
        time.sleep(0.1)


def test_a_job_that_failed_before_it_trained_leaves_its_run_to_no_other(tmp_path: Path) -> None:
    jobs = [tmp_path / name for name in ("0", "1")]
    ids = []
    for job in jobs:
        job.mkdir()
        ids.append(build_logger(entry(job), job).experiment.id)
    assert ids == [(job / RUN_ID).read_text().strip() for job in jobs]
    assert ids[0] != ids[1]
    wandb.finish()
    assert [exit_codes(job) for job in jobs] == [[1], [0]]


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (UserError("no image"), 1), (SystemExit(143), 1)],
)
def test_a_run_ends_as_its_training_did(
    error: BaseException | None, code: int, tmp_path: Path
) -> None:
    trainer: Any = SimpleNamespace(
        loggers=[build_logger(entry(tmp_path), tmp_path)],
        is_global_zero=True,
        strategy=SimpleNamespace(launcher=None),
    )
    with suppress(UserError, SystemExit), cleanup(trainer):
        if error is not None:
            raise error
    assert exit_codes(tmp_path) == [code]


def test_a_run_goes_on_without_the_fingerprint_of_images_that_have_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = build_logger(entry(tmp_path), tmp_path)
    gone = splits(tmp_path / "images", [0, 1], [1, 2], [3, 4])
    shutil.rmtree(tmp_path / "images")
    trainer: Any = SimpleNamespace(
        loggers=[logger], is_global_zero=True, datamodule=SimpleNamespace(splits=gone)
    )
    module: Any = None
    WandbPanels(tmp_path).on_fit_start(trainer, module)
    logger.experiment.finish()
    (path,) = record_files(tmp_path)
    until = time.monotonic() + 20  # W&B's own process may write a moment after the end
    while "code" not in read_config(path) and time.monotonic() < until:
        time.sleep(0.1)
    assert "code" in read_config(path)
    assert "dataset_fingerprint" not in read_config(path)
    assert "W&B gets no fingerprint of the dataset: cannot read the image" in caplog.text


def test_a_panel_of_another_kind_has_a_picture_and_no_table() -> None:
    picture = Image.new("RGB", (4, 4))
    media = to_media([Panel("flow", "Flow", picture, {"stayed": 3}),
                      Panel("strange", "Strange", picture, {"number": 3})])  # fmt: skip
    assert set(media) == {"panels/flow", "tables/flow", "panels/strange"}
    assert media["tables/flow"].data == [["stayed", 3]]


def test_checkpoints_are_one_of_three_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="checkpoints must be one of none, best, all"):
        build_logger(entry(tmp_path, checkpoints="some"), tmp_path)


# Dataset and code


def splits(root: Path, order: list[int], sizes: list[int], identities: list[int]) -> Splits:
    paths = []
    for number, size in enumerate(sizes):
        path = root / f"{number}.jpg"
        root.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
        paths.append(path)
    cameras = np.zeros(len(paths), dtype=np.int64)
    records = Records(tuple(paths), np.array(identities), cameras).select(order)
    return Splits("name", root, records, records.select([]), records.select([]))


def test_the_fingerprint_is_of_the_images_alone(tmp_path: Path) -> None:
    one = splits(tmp_path / "a", [0, 1, 2], [5, 6, 7], [1, 1, 2])
    same = splits(tmp_path / "b", [2, 0, 1], [5, 6, 7], [1, 1, 2])
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one)["train"] == 3
    other_size = splits(tmp_path / "c", [0, 1, 2], [5, 6, 8], [1, 1, 2])
    other_identity = splits(tmp_path / "d", [0, 1, 2], [5, 6, 7], [1, 2, 2])
    other_split = replace(one, train=one.query, gallery=one.train)
    hashes = {fingerprint(s)["sha256"] for s in (one, other_size, other_identity, other_split)}
    assert len(hashes) == 4
    (tmp_path / "a" / "1.jpg").unlink()
    with pytest.raises(UserError, match=r"a/1\.jpg"):
        fingerprint(one)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_checkout_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    module = tmp_path / "dccc_lightning" / "__init__.py"
    module.parent.mkdir()
    module.touch()
    monkeypatch.setattr(dccc_lightning, "__file__", str(module))
    nothing = {"version": dccc_lightning.__version__, "commit": None, "modified": None}
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "somebody else's")
    assert code_version() == nothing
    git("add", ".")
    git("commit", "-q", "-m", "ours")
    known = {"version": dccc_lightning.__version__, "commit": git("rev-parse", "HEAD")}
    assert code_version() == known | {"modified": False}
    module.write_text("changed")
    assert code_version() == known | {"modified": True}


# Dashboard


def strings(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        content = [*content, *content.values()]
    if isinstance(content, list):
        for part in content:
            yield from strings(part)
    elif isinstance(content, str):
        yield content


def test_the_workspace_shows_every_panel_in_its_section() -> None:
    pytest.importorskip("wandb_workspaces")
    spec = specification(workspace("team", "people", "tracklets"))
    sections = spec["spec"]["section"]["panelBankConfig"]["sections"]
    names = [section["name"] for section in sections]
    assert names == ["Retrieval", "Training", "Clustering", "Clusters",
                     "Map, distances, sizes, flow", "Rankings", "System", "Settings"]  # fmt: skip
    shown = set(strings(sections))
    panels = [f"clusters/{k}" for k in ("largest", "tightest", "loosest", "mixed", "outliers")]
    for name in [*panels, "map", "distances", "sizes", "flow", "rankings"]:
        assert f"panels/{name}" in shown
    tables = {name for name in shown if name.startswith("tables/")}
    assert tables == {f"tables/{n}" for n in
                      ("clusters", "map", "distances", "sizes", "flow", "rankings")}  # fmt: skip
    columns = {section["name"]: section["flowConfig"]["columnsPerPage"] for section in sections}
    assert {name for name, number in columns.items() if number == 2} == set(TALL)
    figures = {"val/mAP", "val_teacher/mAP", "train/loss", "train/loss_step", "cluster/eps",
               "cluster/overall_silhouette", "system/clustering_seconds"}  # fmt: skip
    assert figures <= shown
    axes = {panel["config"]["metrics"][0]: panel["config"]["xAxis"]
            for section in sections for panel in section["panels"]
            if panel["viewType"] == "Run History Line Plot"}  # fmt: skip
    assert axes.pop("train/loss_step") == "trainer/global_step"
    assert set(axes.values()) == {"epoch"}
    assert (spec["entity"], spec["project"]) == ("team", "people")
    chosen = json.dumps(spec["spec"]["section"]["runSets"])
    assert "protocol" in chosen
    assert "tracklets" in chosen
    assert "market1501" not in json.dumps(spec)


@pytest.mark.parametrize(
    ("group", "chosen"),
    [("ablation", ("group", "=", "ablation")), ("Anna's", ("group", "=", "Anna's")),
     (None, ("tags", "IN", ["sweep"]))],
)  # fmt: skip
def test_the_sweep_report_is_of_one_sweep_or_of_all(group: str | None, chosen: Any) -> None:
    pytest.importorskip("wandb_workspaces")
    spec = specification(sweep_report("team", "people", "llcm", group))
    grids = [b["metadata"] for b in spec["spec"]["blocks"] if b["type"] == "panel-grid"]
    for grid in grids:
        (runs,) = grid["runSets"]
        rule, only = runs["filters"]["filters"]
        assert (only["key"]["name"].split(".")[0], only["value"]) == ("protocol", "llcm")
        assert (rule["key"]["name"], rule["op"], rule["value"]) == chosen
    assert spec["project"]["name"] == "people"
    shown = set(strings(grids))
    assert {"config:scheduler.value.start", "summary:val_best/mAP", "cluster/eps",
            "summary:cluster/overall_silhouette"} <= shown  # fmt: skip


@pytest.mark.parametrize("group", ["scheduler", "memory", "loss", "clustering"])
def test_every_run_has_what_the_sweep_report_compares(group: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for option in (conf_dir() / group).glob("*.yaml"):
            settings = compose("train", [f"{group}={option.stem}"])
            for name in SWEPT:
                assert OmegaConf.select(settings, name) is not None, (option.stem, name)
            assert set(PARTS.values()) <= set(SWEPT)


def test_the_dashboard_is_written_without_a_server(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("wandb_workspaces")
    outcome = command("task=dashboard", "dashboard.upload=false", "output=views")
    assert outcome.code == 0, outcome
    for name in ("workspace", "sweep_report"):
        spec = json.loads((tmp_path / "views" / f"{name}.json").read_text())
        assert "dccc-lightning" in set(strings(spec))
    assert json.loads((tmp_path / "views" / "results.json").read_text())["workspace"] is None


def test_a_dashboard_that_is_refused_or_lacks_the_extra_is_one_line(
    refusing_server: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    outcome = command("task=dashboard", "output=views")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "dashboard.upload=false" in outcome.err
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    outcome = command("task=dashboard", "dashboard.upload=false", "output=others")
    assert outcome.code == 2
    assert outcome.err == "error: task=dashboard: pip install 'dccc-lightning[dashboard]'\n"


def test_a_team_without_an_account_is_one_line(command: Command) -> None:
    pytest.importorskip("wandb_workspaces")
    outcome = command("task=dashboard", "dashboard.entity=team", "output=views")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "wandb login, or dashboard.upload=false" in outcome.err
