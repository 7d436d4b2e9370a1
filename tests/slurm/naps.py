"""A callback for jobs that have to last until SLURM ends them."""

import time

import pytorch_lightning as pl


class Naps(pl.Callback):
    """Callback that sleeps after every step of a run that begins; one that resumes is fast."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.ckpt_path is None:
            time.sleep(3)
