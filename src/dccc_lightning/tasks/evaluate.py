"""``task=evaluate``: evaluation of one or several networks on one or several datasets."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dccc_lightning.common import collectives
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.faults import SMALLER_EVAL_BATCH, explain_out_of_memory
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.config.build import build_plain
from dccc_lightning.config.image_size import with_stated_size
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.processes import check_devices
from dccc_lightning.inference.evaluation import EvaluationOptions, evaluate_networks
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.metrics.queries import count_queries
from dccc_lightning.metrics.reranking import CameraRerank, Rerank
from dccc_lightning.reports.results import CAMERA_CENTERED, versions
from dccc_lightning.reports.score_matrix import ScoreMatrix
from dccc_lightning.tasks.early_checks import check_protocol, checkpoints_of
from dccc_lightning.tasks.evaluated_datasets import chosen_datasets
from dccc_lightning.tasks.inputs import batch_size_of, loaded_network


def evaluate(settings: Settings, output: Path) -> dict[str, Any]:
    """Evaluate the networks of ``ckpt`` on ``datasets``.

    Args:
        settings: Composed configuration.
        output: Folder to write results.json, matrix.md and matrix.csv to.

    Returns:
        The content of results.json, with scores in per cent.

    Raises:
        UserError: A setting, checkpoint or dataset is invalid.
    """
    start = time.perf_counter()
    options = _options(settings)
    datasets = chosen_datasets(settings)
    networks = _networks(settings)
    scores: dict[str, dict[str, Any]] = {name: {} for name in networks}
    described: dict[str, dict[str, Any]] = {}
    for name, (dataset, skips) in datasets.items():
        splits = dataset.splits()
        with explain_out_of_memory(SMALLER_EVAL_BATCH):
            found, read = evaluate_networks(
                list(networks.values()),
                splits,
                options,
                batch_size_of(settings),
                skip_unreadable=skips,
            )
        if not found:  # this process only embeds a share
            continue
        described[name] = {
            "root": str(splits.root),
            "protocol": options.rules(splits).name,
            **count_queries(read, options.rules(splits)),
            "gallery": len(read.gallery),
        }
        for network, rankings in zip(networks, found, strict=True):
            scores[network][name] = {
                ranking: {key: round(100 * value, 4) for key, value in measures.items()}
                for ranking, measures in rankings.items()
            }
    collectives.leave_to_first()
    results: dict[str, Any] = {
        "scores": scores,
        "options": asdict(options),
        "note": CAMERA_CENTERED,
        "checkpoints": {name: _described(embedder) for name, embedder in networks.items()},
        "datasets": described,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": versions(),
    }
    if not options.camera_center:  # omit the default
        del results["options"]["camera_center"], results["note"]
    for name in ("most_per_identity", "drop_duplicates"):
        if not results["options"][name]:
            del results["options"][name]
    protocols = {name: facts["protocol"] for name, facts in described.items()}
    matrix = ScoreMatrix(scores, results.get("note", ""), protocols)
    write_json(output / "results.json", results)
    write_atomically(output / "matrix.md", matrix.markdown().encode())
    write_atomically(output / "matrix.csv", matrix.csv().encode())
    for table in matrix.tables():
        CONSOLE.print(table)
    return results


def _options(settings: Settings) -> EvaluationOptions:
    check_protocol(settings)
    rerank: Rerank | CameraRerank | None = None
    if settings["rerank"]:
        by_camera = settings["rerank"] == "ca_jaccard"
        rerank = (
            CameraRerank(**settings["ca_reranking"])
            if by_camera
            else Rerank(**settings["reranking"])
        )
    return EvaluationOptions(flip=settings["flip"], rerank=rerank, **settings["evaluate"])


def _networks(settings: Settings) -> dict[str, ImageEmbedder]:
    """Return the networks to evaluate, by the names of their rows."""
    check_devices(dict(settings["trainer"]))
    on_gpu = settings["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    paths = checkpoints_of(settings)
    if not paths:
        sized, origin = with_stated_size(settings)
        plain = build_plain(sized, device)
        CONSOLE.print(f"images of {plain.height} x {plain.width} {origin}")
        name = plain.origin.model.get("backbone", "network")
        return {f"{name}, {settings['model']['weights'] or 'random'} weights": plain}
    return {path: loaded_network(settings, path, device) for path in paths}


def _described(embedder: ImageEmbedder) -> dict[str, Any]:
    """Return the entries of results.json that identify a network."""
    return {
        "network": embedder.origin.network,
        "fingerprint": embedder.fingerprint,
        "trained_on": embedder.origin.dataset,
        "height": embedder.height,
        "width": embedder.width,
        "feature_dim": embedder.feature_dim,
        "rotations": embedder.rotations,
        "match": embedder.match,
    }
