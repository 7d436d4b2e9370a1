"""Evaluation protocols: the queries, the gallery, and the pairs that do not count.

A protocol is a row of ``PROTOCOLS``. Its rules are written for NumPy arrays and tensors alike, so
that counts of queries and scores follow the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dccc_lightning.data.records import UNKNOWN, Splits
from dccc_lightning.errors import UserError

Labels = Mapping[str, Any]
"""Labels of N images by name, each (N,) integers: identity, camera and ``records.COLUMNS``;
``image`` is the number of the image itself."""

LABELS = ("session", "tracklet", "clothes", "modality")
"""Labels that protocols use beside identity and camera."""

APART = ("session", "tracklet")
"""Columns of which an identity's images with one value are never a match of each other."""

DRAWS = 10
"""Number of random galleries of the protocols that draw one."""


@dataclass(frozen=True)
class Protocol:
    """Rules of an evaluation.

    Attributes:
        name: Name in ``evaluate.protocol`` and in results.
        apart: Columns; a gallery image with the query's identity and a known label in common with
            it is left out.
        clothes: ``changed`` or ``same``: leave out images of the query's identity in the same or
            in other clothes, and those whose clothes are unknown.
        crosses_modalities: Leave out all gallery images of the query's modality.
        query_cameras: Cameras of the queries; empty for all.
        gallery_cameras: Cameras of the gallery; empty for all.
        hidden: (query camera, gallery camera) pairs whose gallery images are left out.
        test: ``split``: query and gallery as the dataset divides them; ``each``: every image of
            both is a query against all others; ``drawn``: one random image of each identity is the
            gallery, and all others are queries.
        draw: Columns; the gallery is one random image of each combination, in ``DRAWS`` draws;
            empty for the whole gallery.
        cmc: Rank of a query: ``image``, the position of its first match; ``identity``, counting
            the identities above; ``drawn``, that among one random image of each identity.
        pools_tracklets: A tracklet is one image: the mean of its embeddings.
        average: ``query`` or ``identity``: whether each query or each identity weighs the same.
    """

    name: str
    apart: tuple[str, ...] = ("camera", *APART)
    clothes: str = ""
    crosses_modalities: bool = False
    query_cameras: tuple[int, ...] = ()
    gallery_cameras: tuple[int, ...] = ()
    hidden: tuple[tuple[int, int], ...] = ()
    test: str = "split"
    draw: tuple[str, ...] = ()
    cmc: str = "image"
    pools_tracklets: bool = False
    average: str = "query"

    @property
    def is_drawn(self) -> bool:
        """True if scores are means over random draws."""
        return bool(self.draw) or self.cmc == "drawn"

    def needs(self) -> tuple[str, ...]:
        """Return the columns without which no query can have a match."""
        first = self.apart[0] if self.test == "split" else ""
        needed = {
            "clothes": bool(self.clothes),
            "modality": self.crosses_modalities,
            "tracklet": self.pools_tracklets or first == "tracklet",
            "session": first == "session",
        }
        return tuple(name for name, is_needed in needed.items() if is_needed)

    def left_out(self, query: Labels, gallery: Labels, rows: Any, columns: Any) -> Any:
        """Return a mask (H,) of the pairs of one identity that do not count.

        Args:
            query: Labels of the queries.
            gallery: Labels of the gallery.
            rows: (H,) queries.
            columns: (H,) gallery images with the same identity.
        """
        mask = self._is_hidden(query, gallery, rows, columns)
        for name in self.apart:
            if name in query and name in gallery:
                ours = query[name][rows]
                same = (ours != UNKNOWN) & (ours == gallery[name][columns])
                if name == "tracklet":  # the same number elsewhere is another tracklet
                    for place in {"camera", "session"} & query.keys() & gallery.keys():
                        same = same & (query[place][rows] == gallery[place][columns])
                mask = mask | same
        if self.test == "each" and "image" in query:
            mask = mask | (query["image"][rows] == gallery["image"][columns])
        if self.clothes and "clothes" in query and "clothes" in gallery:
            ours, theirs = query["clothes"][rows], gallery["clothes"][columns]
            wrong = (ours == theirs) if self.clothes == "changed" else (ours != theirs)
            mask = mask | wrong | (ours == UNKNOWN) | (theirs == UNKNOWN)
        return mask

    def hidden_images(self, query: Labels, gallery: Labels) -> Any:
        """Return a mask (Q, G) of images left out whatever their identity; None for none."""
        if not self.crosses_modalities and not self.hidden:
            return None
        every = slice(None)
        return self._is_hidden(query, gallery, (every, None), (None, every))

    def _is_hidden(self, query: Labels, gallery: Labels, rows: Any, columns: Any) -> Any:
        mask = query["identity"][rows] != query["identity"][rows]
        if self.crosses_modalities and "modality" in query and "modality" in gallery:
            ours = query["modality"][rows]
            mask = mask | ((ours != UNKNOWN) & (ours == gallery["modality"][columns]))
        for ours, theirs in self.hidden:
            mask = mask | ((query["camera"][rows] == ours) & (gallery["camera"][columns] == theirs))
        return mask


MARKET1501 = Protocol("market1501")
_SINGLE_SHOT = Protocol("single_shot", draw=("identity", "camera"))
_PRCC = replace(_SINGLE_SHOT, draw=("identity",))
# The infrared cameras 3 and 6 search the visible ones; 2 and 3 see the same place. Numbers from 0.
_SYSU = Protocol(
    "sysu_all_search",
    query_cameras=(2, 5),
    gallery_cameras=(0, 1, 3, 4),
    hidden=((2, 1),),
    draw=("identity", "camera"),
    cmc="identity",
)

_ROWS = (
    MARKET1501,
    _SINGLE_SHOT,
    replace(_PRCC, name="prcc_same_clothes", clothes="same"),
    replace(_PRCC, name="prcc_clothes_changed", clothes="changed"),
    replace(_PRCC, name="vehicleid", test="drawn"),
    Protocol("cuhk03_classic", cmc="drawn"),
    Protocol("clothes_changed", clothes="changed"),
    Protocol("same_clothes", clothes="same"),
    Protocol("cross_modality", crosses_modalities=True),
    _SYSU,
    replace(_SYSU, name="sysu_indoor_search", gallery_cameras=(0, 1)),
    Protocol(
        "llcm", draw=("identity", "camera", "modality"), cmc="identity", crosses_modalities=True
    ),
    Protocol("leave_one_out", apart=APART, test="each", average="identity"),
    Protocol("other_session", apart=("session",)),
    Protocol("other_tracklet", apart=("tracklet", "session")),
    Protocol("tracklets", pools_tracklets=True),
)

PROTOCOLS: Mapping[str, Protocol] = {row.name: row for row in _ROWS}
"""The protocols by name."""


def protocol_of(name: str, splits: Splits) -> Protocol:
    """Return a protocol by name, the dataset's own for ``auto``.

    Raises:
        UserError: The dataset names an unknown protocol.
    """
    if name == "auto" and splits.protocol not in PROTOCOLS:
        raise UserError(
            f"{splits.name}: no protocol {splits.protocol}; set evaluate.protocol to one of "
            f"{', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[splits.protocol if name == "auto" else name]
