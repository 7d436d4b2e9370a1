"""Check the settings of the trainer without torch."""

from dccc_lightning.common import checks
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.config.processes import check_devices, check_shares
from dccc_lightning.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""What the forward passes may run in; statistics, memory, losses and scores stay in single."""

PROFILERS = ("simple", "advanced", "pytorch")

_LENGTH = "epochs= and iterations= are the length of a run; epochs=1 iterations=1 is the shortest"
_WHOLE = "scores need every query and the whole gallery; eval_every= makes evaluations rarer"
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
    "val_check_interval": (1.0, "eval_every= counts the epochs between two evaluations"),
    "check_val_every_n_epoch": (1, "eval_every= counts the epochs between two evaluations"),
}
"""Lightning's arguments that cut epochs or evaluations: value without effect, and remedy."""


def check_trainer(settings: Settings) -> None:
    """Check the trainer's settings, its devices aside.

    Raises:
        UserError: An impossible argument.
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
            f"model.bn_group_size={group}: a batch of {size} images would leave a group of one, "
            "which has no variance; choose another group size"
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


def check_processes(settings: Settings) -> int:
    """Check that the machine has the devices and the batch can be shared by their processes.

    Without ``trainer=cpu`` torch is imported to count the GPUs.

    Returns:
        The number of processes.

    Raises:
        UserError: More devices than there are, or a number that does not fit the batch.
    """
    arguments, batch = settings["trainer"], settings["batch"]
    processes = check_devices(arguments)
    size, group = batch["clusters"] * batch["instances"], settings["model"]["bn_group_size"]
    check_shares(size, processes, arguments, group)
    return processes


def _check_limits(arguments: Settings) -> None:
    """Refuse what would cut an epoch short, or score a part of the test images.

    No evaluation at all (``limit_val_batches=0``) is a choice.
    """
    for name, (neutral, remedy) in _LIMITS.items():
        value = arguments.get(name)
        is_off = name == "limit_val_batches" and not isinstance(value, bool) and value == 0
        if value is None or is_off or (value == neutral and type(value) is type(neutral)):
            continue
        raise UserError(f"trainer.{name}={str(value).lower()}: {remedy}")
