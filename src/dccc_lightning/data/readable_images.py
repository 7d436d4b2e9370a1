"""Decoding of a split, and what becomes of its unreadable images."""

import logging

from dccc_lightning.common import collectives
from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.records import Records
from dccc_lightning.errors import UserError

log = logging.getLogger(__name__)


def decode_readable(
    records: Records, store: ImageStore, dataset: str, split: str, skip: bool
) -> tuple[Records, ImageStore]:
    """Decode the images of a split and return those that can be read, with their store.

    Args:
        records: Records of the split.
        store: Store of the same images.
        dataset: Name of the dataset, for messages.
        split: Name of the split, for messages.
        skip: Leave unreadable images out, with one warning on rank 0.

    Raises:
        UserError: An image cannot be read and ``skip`` is False, or no image can be read.
    """
    is_first = collectives.world()[0] == 0
    problems = store.preload(progress=is_first, thorough=skip)
    if not problems:
        return records, store
    if not skip:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0].error}{more}; remove it or set dataset.on_error=skip")
    bad = {problem.index for problem in problems}
    keep = [i for i in range(len(records)) if i not in bad]
    if is_first:
        log.warning("%d unreadable %s images skipped, first: %s",
                    len(bad), split, problems[0].error)  # fmt: skip
    if not keep:
        raise UserError(f"{dataset}: no readable image in the {split} split")
    return records.select(keep), store.select(keep)
