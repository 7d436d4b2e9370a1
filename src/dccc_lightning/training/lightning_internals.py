"""Uses of Lightning's private interface.

They may break with any release of Lightning, so pyproject.toml pins a minor version and a test
covers each of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl


def shuffles_batches(trainer: "pl.Trainer") -> bool:
    """Return True if Lightning would replace the samplers of distributed loaders."""
    return bool(trainer._accelerator_connector.use_distributed_sampler)


def leave_signals_alone(trainer: "pl.Trainer") -> None:
    """Disable Lightning's signal handlers, which communicate with other processes.

    Its check for SIGTERM would also synchronise with the device on every step.
    """
    connector: Any = vars(trainer)["_signal_connector"]
    connector.register_signal_handlers = lambda: None
    epoch_loop: Any = trainer.fit_loop.epoch_loop
    epoch_loop._broadcast_sigterm_tensor = lambda: None


def process_launcher(trainer: "pl.Trainer") -> Any:
    """Return the launcher that started the other processes of this run; None without one.

    Returns:
        An object with ``procs`` (``subprocess.Popen``) and ``kill(signal)``.
    """
    from pytorch_lightning.strategies.launchers.subprocess_script import (  # noqa: PLC0415  slow
        _SubprocessScriptLauncher,
    )

    launcher = trainer.strategy.launcher
    return launcher if isinstance(launcher, _SubprocessScriptLauncher) else None
