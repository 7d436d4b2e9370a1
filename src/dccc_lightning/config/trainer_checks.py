"""Checks of the trainer's settings, without torch."""

from dccc_lightning.common import checks
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.config.processes import check_devices, check_shares
from dccc_lightning.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Precisions of the forward passes; statistics, memory, losses and scores are float32."""

PROFILERS = ("simple", "advanced", "pytorch")
CLIPPING = ("norm", "value")
"""Ways to clip gradients."""

_LENGTH = "epochs= and iterations= set the length of a run; epochs=1 iterations=1 is the shortest"
_WHOLE = "scores need every query and the whole gallery; raise eval_every= for fewer evaluations"
_BATCH_NORM = "model.bn_group_size= sets the images that share statistics, on any number of GPUs"
_LIMITS = {
    "fast_dev_run": (False, _LENGTH),
    "limit_train_batches": (1.0, _LENGTH),
    "overfit_batches": (0.0, _LENGTH),
    "max_steps": (-1, _LENGTH),
    "min_steps": (None, _LENGTH),
    "max_time": (None, _LENGTH),
    "limit_val_batches": (1.0, _WHOLE),
    "limit_test_batches": (1.0, _WHOLE),
    "limit_predict_batches": (1.0, _WHOLE),
    "val_check_interval": (1.0, "eval_every= sets the number of epochs between evaluations"),
    "sync_batchnorm": (False, _BATCH_NORM),
    "check_val_every_n_epoch": (1, "eval_every= sets the number of epochs between evaluations"),
}
"""Lightning's arguments with settings in their place: neutral value, and remedy."""


def check_trainer(settings: Settings) -> None:
    """Check the trainer's settings except its devices.

    Raises:
        UserError: An argument is invalid.
    """
    arguments = settings["trainer"]
    _check_limits(arguments)
    checked("trainer", lambda: checks.integer("epochs", settings["epochs"], 1),
            {"epochs": settings["epochs"]})  # fmt: skip
    size = settings["batch"]["clusters"] * settings["batch"]["instances"]
    group = checked(
        "model",
        lambda: checks.integer("bn_group_size", settings["model"]["bn_group_size"], 1),
        {"model": settings["model"]},
    )
    if group == 1 or size % group == 1:
        raise UserError(
            f"model.bn_group_size={group}: the last group of a batch of {size} images would have "
            "one image, which has no variance; choose another group size"
        )
    if arguments["precision"] not in PRECISIONS:
        raise UserError(
            f"trainer.precision={arguments['precision']}: must be one of {', '.join(PRECISIONS)}"
        )
    strategy = arguments.get("strategy", "auto")
    if strategy not in ("auto", "ddp"):
        raise UserError(f"trainer.strategy={strategy}: must be auto or ddp")
    if (name := arguments.get("profiler")) is not None:
        checked("trainer", lambda: checks.choice("profiler", name, PROFILERS))
    if (clip := arguments.get("gradient_clip_val")) is not None:
        checked("trainer", lambda: checks.real("gradient_clip_val", clip, 0.0))
    if (way := arguments.get("gradient_clip_algorithm")) is not None:
        checked("trainer", lambda: checks.choice("gradient_clip_algorithm", way, CLIPPING))


def check_processes(settings: Settings) -> int:
    """Check that the machine has the devices and that their number divides the batch.

    Unless ``trainer=cpu``, torch is imported to count the GPUs.

    Returns:
        The number of processes.

    Raises:
        UserError: The machine has fewer devices, or their number does not divide the batch.
    """
    arguments, batch = settings["trainer"], settings["batch"]
    processes = check_devices(arguments)
    size, group = batch["clusters"] * batch["instances"], settings["model"]["bn_group_size"]
    check_shares(size, processes, arguments, group)
    return processes


def _check_limits(arguments: Settings) -> None:
    """Raise an error for arguments that have settings in their place.

    Disabling the evaluation (``limit_val_batches=0``) is allowed.
    """
    for name, (neutral, remedy) in _LIMITS.items():
        value = arguments.get(name)
        is_off = name == "limit_val_batches" and not isinstance(value, bool) and value == 0
        if value is None or is_off or (value == neutral and type(value) is type(neutral)):
            continue
        raise UserError(f"trainer.{name}={str(value).lower()}: {remedy}")
