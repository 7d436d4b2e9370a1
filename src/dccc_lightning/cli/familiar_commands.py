"""Translation of settings and verbs of other programs to this command line."""

from collections.abc import Sequence

_TRANSLATIONS = {
    "epochs={}": ("epochs", "max_epochs", "num_epochs", "n_epochs", "epoch", "nepochs"),
    "trainer=gpu trainer.devices={}": ("gpus", "num_gpus", "n_gpus", "ngpus", "gpu"),
    "trainer.devices={}": ("devices", "num_devices", "nproc_per_node"),
    "iterations={}": (
        "iters", "num_iters", "n_iters", "steps_per_epoch", "iters_per_epoch",
        "limit_train_batches",
    ),
    "eval_every={}": (
        "eval_step", "eval_freq", "eval_period", "eval_interval", "check_val_every_n_epoch",
    ),
    "memory.momentum={}": ("momentum",),
    "memory.temperature={}": ("temp", "temperature"),
    "image.height={}": ("height",),
    "image.width={}": ("width",),
    "trainer.num_nodes={}": ("num_nodes", "nodes", "nnodes"),
    "trainer.accelerator={}": ("accelerator", "device"),
    "trainer.accumulate_grad_batches={}": ("accumulate_grad_batches", "accumulation_steps"),
    "optimizer.lr={}": ("lr", "learning_rate", "base_lr"),
    "optimizer.weight_decay={}": ("weight_decay", "wd"),
    "optimizer.warmup_epochs={}": ("warmup_epochs", "warmup"),
    "loader.workers={}": ("workers", "num_workers", "n_workers"),
    "loader.eval_batch_size={}": ("eval_batch_size", "val_batch_size", "test_batch_size"),
    "batch.instances={}": ("num_instances", "instances"),
    "dataset={}": ("data", "datamodule", "data_module"),
    "dataset.root={}": ("data_dir", "data_root", "data_path", "root", "path", "dir"),
    "model.weights={}": ("pretrained", "pretrained_path", "weights", "weights_path"),
    "model={}": ("arch", "architecture", "net", "network_name"),
    "scheduler.start={}": ("eps", "start"),
    "memory.tau_w={}": ("tau_w",),
    "output={}": (
        "output_dir", "out", "out_dir", "save_dir", "log_dir", "work_dir", "exp_dir",
        "default_root_dir", "logs_dir",
    ),
    "resume={}": ("resume_from_checkpoint", "resume_from"),
    "epochs=1 iterations=1": ("fast_dev_run",),
    "experiment={}": ("config", "cfg", "preset"),
    "task={}": ("mode", "command", "cmd", "action"),
}  # fmt: skip

_COMMANDS = {name: command for command, names in _TRANSLATIONS.items() for name in names}

_SECTIONS = (
    "", "trainer", "data", "dataset", "datamodule", "model", "optim", "optimizer", "train",
    "training", "solver", "loader", "args", "params", "run",
)  # fmt: skip
"""Sections of such settings in other programs; empty for the root."""

_AT_ROOT = ("momentum", "temp", "temperature", "height", "width")
"""Names that mean other things in sections, such as the momentum of an optimiser."""

_OF_DATA = ("data_dir", "data_root", "data_path", "root", "path", "dir")
"""Names of the dataset's folder, in data sections only."""

_WEIGHTS = {"true": "imagenet", "false": "null"}
_PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "fp16": "16-mixed"}

_TASKS = {
    "fit": "train", "training": "train", "test": "evaluate", "eval": "evaluate",
    "validate": "evaluate", "val": "evaluate", "predict": "embed", "extract": "embed",
}  # fmt: skip
"""Verbs of other programs, by task."""


def command_for(setting: str, value: str) -> str:
    """Return the arguments equivalent to another program's setting; empty if unknown.

    >>> command_for("trainer.gpus", "2"), command_for("batch_size", "64"), command_for("a", "1")
    ('trainer=gpu trainer.devices=2', 'batch.clusters=4 batch.instances=16', '')
    """
    value = value or "VALUE"
    section, _, name = setting.lower().rpartition(".")
    if section in ("hydra",) and name in ("sweeper", "launcher"):
        return f"hydra/{name}={value}"
    if section not in _SECTIONS or (section and name in _AT_ROOT):
        return ""
    if name in ("batch_size", "batchsize", "bs", "train_batch_size"):
        return _batch(value)
    if name == "precision" and value in _PRECISIONS:
        return f"trainer.precision={_PRECISIONS[value]}"
    if name == "pretrained" and value.lower() in _WEIGHTS:
        value = _WEIGHTS[value.lower()]
    is_data = section in ("", "data", "dataset", "datamodule")
    if (name in _OF_DATA) > is_data or (section == "dataset" and name == "data"):
        return ""
    return _COMMANDS.get(name, "").format(value)


def task_for(word: str, tasks: Sequence[str]) -> str:
    """Return the ``task=`` argument for a verb; empty if unknown."""
    name = word if word in tasks else _TASKS.get(word.lower(), "")
    return f"task={name}" if name else ""


def _batch(value: str) -> str:
    """Return clusters and instances of a batch size, with 16 or, for small batches, 4 instances."""
    size = int(value) if value.isdecimal() else 0
    for instances in (16, 4, 2):
        if size and size % instances == 0 and size // instances > 1:
            return f"batch.clusters={size // instances} batch.instances={instances}"
    return "batch.clusters=P batch.instances=K, for P * K images"
