"""Official divisions of a dataset's people into training and test, from its files or drawn."""

import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TRAIN, ImageLabels
from dccc_lightning.data.datasets.matlab_files import read_matlab
from dccc_lightning.data.datasets.row_files import plain
from dccc_lightning.errors import UserError

DRAWS = 10
"""Number of divisions that are drawn."""

SEED = 1
"""Seed of the drawn divisions, the default of torchreid's training script."""

Parts = Mapping[str, Sequence[ImageLabels]]


@dataclass(frozen=True)
class Division:
    """Identities of training and test, as text; ``row_files.plain`` of each."""

    train: frozenset[str]
    test: frozenset[str]


@dataclass(frozen=True)
class Divisions:
    """Numbered divisions of people who are seen by both query and gallery camera.

    Attributes:
        files: Possible files, from the dataset's folder; the first that exists is read. JSON as
            torchreid writes it: a list of {train, query, gallery} or {train, test} with images,
            folders or numbers of people. MATLAB: ``ls_set`` of iLIDS-VID, ``trainIdxAll`` of GRID.
        drawn: Without a file: ``numpy`` or ``random``, the generator with which torchreid draws
            half of the sorted people, ten times; empty for the rule of ``split_assignment``.
        both_ways: Each division counts twice, the second time with query and gallery exchanged.
        others: Images of people in neither part: ``gallery`` keeps those of the gallery, ``none``
            leaves them out.
        test_share: Share of the people for the test if there is no file and nothing is drawn.
    """

    files: tuple[str, ...] = ()
    drawn: str = ""
    both_ways: bool = False
    others: str = "none"
    test_share: float = 0.5

    @classmethod
    def of(cls, settings: object) -> "Divisions":
        """Return the divisions that settings describe.

        Raises:
            TypeError: ``settings`` has other keys or types.
            ValueError: A value is unknown.
        """
        names = ("files", "drawn", "both_ways", "others", "test_share")
        if not isinstance(settings, Mapping) or not set(settings) <= set(names):
            raise TypeError(f"divisions must be some of {', '.join(names)}, got {settings!r}")
        files = settings.get("files") or ()
        if not isinstance(files, (list, tuple)) or not all(isinstance(f, str) for f in files):
            raise TypeError(f"divisions.files must be a list of files, got {files!r}")
        found = cls(**{**settings, "files": tuple(files)})
        if found.drawn not in ("", *GENERATORS) or found.others not in ("none", "gallery"):
            raise ValueError(
                f"divisions must be drawn by {' or '.join(GENERATORS)}, with others none or "
                f"gallery, got {settings!r}"
            )
        return found

    def divided(
        self, name: str, home: Path, split: int, parts: Parts, distractors: Iterable[str]
    ) -> tuple[dict[str, list[ImageLabels]], str] | None:
        """Return the images of the three splits by a division, and its description.

        Args:
            name: Name of the dataset, the start of each message.
            home: Folder of the dataset.
            split: Number of the division, from 0.
            parts: Images of query and gallery.
            distractors: Identities of the gallery only.

        Returns:
            None if there is no file and nothing is drawn.

        Raises:
            UserError: A file cannot be read or does not fit, or there is no such division.
        """
        keys = _identities_by_key([*parts[QUERY], *parts[GALLERY]])
        file = next((home / file for file in self.files if (home / file).is_file()), None)
        if file is not None:
            found = _read(name, file, keys, _people(parts))
            origin = f"of {file.name}"
        elif self.drawn:
            found = GENERATORS[self.drawn](_people(parts))
            found = [division for division in found for _ in range(2 if self.both_ways else 1)]
            origin = f"drawn by {self.drawn} from seed {SEED}"
        else:
            return None
        if not 0 <= split < len(found):
            raise UserError(
                f"{name}: dataset.split must be in [0, {len(found) - 1}], a division {origin}, "
                f"got {split}"
            )
        division = found[split]
        divided: dict[str, list[ImageLabels]] = {TRAIN: [], QUERY: [], GALLERY: []}
        sides = (QUERY, GALLERY)
        if self.both_ways and split % 2:
            sides = (GALLERY, QUERY)
        alone = frozenset(distractors)
        for side, images in zip(sides, (parts[QUERY], parts[GALLERY]), strict=True):
            for image in images:
                identity = plain(image.identity)
                if identity in alone or identity not in division.train | division.test:
                    if side == GALLERY and (identity in alone or self.others == "gallery"):
                        divided[GALLERY].append(image)
                else:
                    divided[TRAIN if identity in division.train else side].append(image)
        return divided, f"division {split} of {len(found)} {origin}"


def _people(parts: Parts) -> list[str]:
    """Return the people of both query and gallery, sorted."""
    queried, found = ({image.identity for image in parts[split]} for split in (QUERY, GALLERY))
    return sorted(queried & found - {""})


def _by_numpy(people: Sequence[str]) -> list[Division]:
    generator = np.random.RandomState(SEED)  # the generator is part of the convention
    found = []
    for _ in range(DRAWS):
        order = np.arange(len(people))
        generator.shuffle(order)
        found.append(_division(people, order[: len(people) // 2].tolist()))
    return found


def _by_random(people: Sequence[str]) -> list[Division]:
    generator = random.Random(SEED)
    every = range(len(people))
    return [_division(people, generator.sample(every, len(people) // 2)) for _ in range(DRAWS)]


GENERATORS: Mapping[str, Callable[[Sequence[str]], list[Division]]] = {
    "numpy": _by_numpy,
    "random": _by_random,
}
"""Rules of torchreid for datasets that have no file of divisions."""


def _division(people: Sequence[str], trained: Iterable[int]) -> Division:
    train = frozenset(plain(people[position]) for position in trained)
    return Division(train, frozenset(map(plain, people)) - train)


def _identities_by_key(images: Iterable[ImageLabels]) -> dict[str, str]:
    """Return identities by the names that lists have for them: number, image, or its folder."""
    found: dict[str, str] = {}
    for image in images:
        *folders, base = image.path.split("/")
        for key in (plain(image.identity), base, *folders[-1:]):
            found.setdefault(key, plain(image.identity))
    return found


def _read(name: str, file: Path, keys: Mapping[str, str], people: Sequence[str]) -> list[Division]:
    """Return the divisions of a file.

    Raises:
        UserError: The file cannot be read, or names people that the dataset does not have.
    """
    try:
        if file.suffix == ".mat":
            return _of_matlab(read_matlab(file), people)
        listed = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(listed, list) or not listed:
            raise ValueError("not a list of divisions")
        return [_of_json(division, keys) for division in listed]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise UserError(
            f"{name}: cannot read the divisions of {file}: {reason}; correct it, or move it away "
            "and the people are divided without it"
        ) from error


def _of_json(division: Mapping[str, Any], keys: Mapping[str, str]) -> Division:
    """Return a division of {train, query, gallery} or {train, test}."""
    tests = [side for side in ("test", QUERY) if side in division][:1]
    if TRAIN not in division or not tests:
        raise ValueError("divisions need train, and query or test")
    train, test = (
        frozenset(_identity(entry, keys) for entry in division[side]) for side in (TRAIN, *tests)
    )
    return Division(train, test - train)


def _identity(entry: object, keys: Mapping[str, str]) -> str:
    """Return the identity of an entry: a number, a folder, an image, or a list of image first."""
    first = entry[0] if isinstance(entry, (list, tuple)) and entry else entry
    key = re.split(r"[\\/]", first)[-1] if isinstance(first, str) else plain(first)
    if key not in keys:
        raise ValueError(f"the dataset has no {key}")
    return keys[key]


def _of_matlab(content: Mapping[str, Any], people: Sequence[str]) -> list[Division]:
    if "ls_set" in content:  # positions of all people from 1, the first half is the test
        order = np.asarray(content["ls_set"]).astype(np.int64) - 1
        if order.ndim != 2 or not ((order >= 0) & (order < len(people))).all():
            raise ValueError(f"ls_set must have numbers of {len(people)} people in each row")
        return [_division(people, row[len(row) // 2 :].tolist()) for row in order]
    if "trainIdxAll" in content:  # the third field of each struct has the people of training
        every = frozenset(map(plain, people))
        found = []
        for cell in np.ravel(content["trainIdxAll"]):
            struct = np.ravel(cell)[0]
            numbers = np.ravel(struct[2]).astype(np.int64).tolist()
            train = frozenset(map(plain, numbers)) & every
            found.append(Division(train, every - train))
        return found
    raise ValueError("it has neither ls_set nor trainIdxAll")
