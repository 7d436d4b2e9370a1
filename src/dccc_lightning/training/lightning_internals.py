"""All that the package uses of Lightning beside its public interface, in one place.

A release of Lightning may move any of it without a word: pyproject.toml admits one minor version,
and a test names each part.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl


def shuffles_batches(trainer: "pl.Trainer") -> bool:
    """Tell whether Lightning puts its own samplers into the loaders of several processes."""
    return bool(trainer._accelerator_connector.use_distributed_sampler)


def leave_signals_alone(trainer: "pl.Trainer") -> None:
    """Keep Lightning from handling signals: its handlers talk to the other processes.

    Asking them about SIGTERM would wait for the device on every step, too.
    """
    connector: Any = vars(trainer)["_signal_connector"]
    connector.register_signal_handlers = lambda: None
    epoch_loop: Any = trainer.fit_loop.epoch_loop
    epoch_loop._broadcast_sigterm_tensor = lambda: None


def process_launcher(trainer: "pl.Trainer") -> Any:
    """Return the launcher that has started other processes of this run; None where there is none.

    Returns:
        An object with ``procs`` (``subprocess.Popen``) and ``kill(signal)``.
    """
    from pytorch_lightning.strategies.launchers.subprocess_script import (  # noqa: PLC0415  slow
        _SubprocessScriptLauncher,
    )

    launcher = trainer.strategy.launcher
    return launcher if isinstance(launcher, _SubprocessScriptLauncher) else None
