"""Reads the file of an offline W&B run back, for which wandb itself has no reader in Python."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a .wandb file: LevelDB's log format, in blocks of 32 KiB."""
    content, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # no header fits: the rest of the block is padding
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # a full record, or the last part of one
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the rows that a run logged; the parts of an image or a table follow a dot."""
    return [
        {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for record in read_records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def read_config(path: Path) -> dict[str, Any]:
    """Return the last state of a run's configuration, by its outermost keys."""
    config: dict[str, Any] = {}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind in ("run", "config"):
            changes = record.run.config if kind == "run" else record.config
            for item in changes.update:
                config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return config
