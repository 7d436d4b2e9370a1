"""Identities as files that FiftyOne and Label Studio import."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.data.image_table import ImageTable, read_columns, read_image_table
from dccc_lightning.errors import UserError

TASKS, LAYOUT = "tasks.json", "config.xml"
"""Files of ``write_label_studio``."""

_LAYOUT = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="identity" toName="image" editable="true" maxSubmissions="1"/>
</View>
"""

_ATTRIBUTES = ("name", "camera", "session", "tracklet", "frame")


def write_fiftyone(identities: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Write a ``FiftyOneImageClassificationDataset``: labels.json, and data.json with the images.

    The label of an image is its identity. Its name, camera, session, tracklet and frame are
    attributes of the label, where they are known.

    Args:
        identities: identities.csv or identities.parquet of ``task=identify``.
        folder: Folder to write to, created if missing.

    Raises:
        UserError: The table cannot be read, or a row has no identity.
    """
    _, rows = _rows(Path(identities))
    labels = {
        row.pop("path"): {"label": row.pop("identity"), "attributes": _attributes(row)}
        for row in rows
    }
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "data.json", {path: path for path in labels})
    write_json(place / "labels.json", {"classes": None, "labels": labels})


def write_label_studio(
    identities: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    root: str | os.PathLike[str],
) -> None:
    """Write tasks.json for the import of Label Studio, and config.xml, its labelling interface.

    Images are tasks served from the disk by Label Studio itself (local files). The identity is a
    prediction that a person may change, as text. Its score, by which the Data Manager sorts, is
    (1 + margin) / 2, for Label Studio wants a number from 0 to 1: below 0.5 is doubtful.

    Args:
        identities: identities.csv or identities.parquet of ``task=identify``.
        folder: Folder to write to, created if missing.
        root: Value of ``LOCAL_FILES_DOCUMENT_ROOT`` of Label Studio, a folder above all images.

    Raises:
        UserError: The table cannot be read, a row has no identity, or an image is outside of
            ``root``.
    """
    file, above = Path(identities), Path(root).expanduser().absolute()
    table, rows = _rows(file)
    tasks = []
    for path, row in zip(table.paths, rows, strict=True):
        try:
            inside = Path(path).relative_to(above).as_posix()
        except ValueError:
            raise UserError(
                f"{file}: {path} is not in root={above}, the folder that Label Studio serves"
            ) from None
        value = {"text": [row["identity"]]}
        result = {"from_name": "identity", "to_name": "image", "type": "textarea", "value": value}
        prediction: dict[str, Any] = {"model_version": "dccc-lightning", "result": [result]}
        if row["margin"] is not None:
            prediction["score"] = round(min(max((1 + float(row["margin"])) / 2, 0), 1), 6)
        data = {"image": f"/data/local-files/?d={quote(inside)}", **_attributes(row)}
        tasks.append({"data": data, "predictions": [prediction]})
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / LAYOUT, _LAYOUT.encode())
    write_atomically(place / TASKS, json.dumps(tasks, indent=1).encode())


def _attributes(row: dict[str, Any]) -> dict[str, str]:
    return {key: row[key] for key in _ATTRIBUTES if row.get(key) is not None}


def _rows(file: Path) -> tuple[ImageTable, list[dict[str, Any]]]:
    """Read identities with their labels, all as text, and absolute paths.

    Raises:
        UserError: The table cannot be read, or a row has no identity.
    """
    images = read_image_table(file)
    rest = read_columns(file, ("identity",), ("name", "margin"))
    extra = {name: rest[name].to_pylist() for name in rest.column_names}
    columns = {"name": [None] * len(rest), "margin": [None] * len(rest), **images.columns, **extra}
    rows = [
        dict(zip(("path", *columns), values, strict=True))
        for values in zip(images.paths, *columns.values(), strict=True)
    ]
    for number, row in enumerate(rows, 1):
        if not row["identity"]:
            raise UserError(f"{file}, row {number}: no identity")
    return images, rows
