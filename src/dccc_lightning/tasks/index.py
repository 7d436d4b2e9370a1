"""``task=index``: a gallery on disk, built or changed."""

from pathlib import Path
from typing import Any

from dccc_lightning.common import collectives
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import write_json
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.gallery_table import NO_NAME
from dccc_lightning.reports.results import versions
from dccc_lightning.tasks.early_checks import check_index, removed_ids
from dccc_lightning.tasks.gallery_inputs import (
    Embedded,
    embed_images,
    embedded_before,
    listed_images,
    loaded_embedder,
)
from dccc_lightning.tasks.inputs import path_of
from dccc_lightning.tasks.path_labels import PathLabels


def index(settings: Settings, output: Path) -> dict[str, Any]:
    """Build a gallery of the images of ``input``, or add and remove images of an existing one.

    Args:
        settings: Composed configuration.
        output: Folder to write results.json to and, if ``index`` is null, the gallery.

    Returns:
        The content of results.json.

    Raises:
        UserError: A setting, the gallery, the checkpoint or an image is invalid.
    """
    check_index(settings)
    changes = settings["input"] is None
    folder = output / "gallery" if settings["index"] is None else path_of(settings, "index")
    results: dict[str, Any] = {"gallery": str(folder.absolute()), "added": 0, "removed": 0}
    gallery = GalleryIndex.load(folder) if changes else None
    collectives.barrier()  # rank 0 will replace what all processes have read
    if gallery is None:
        gallery = _build(settings)
        results["added"] = len(gallery)
    else:
        if settings["remove"] is not None:
            results["removed"] = gallery.remove(removed_ids(gallery.table, settings["remove"]))
        if settings["add"] is not None:
            results["added"] = _add(gallery, settings)
        collectives.leave_to_first()
        gallery.measure_recall()
    gallery.save(folder)
    results |= {
        "images": len(gallery),
        "kind": gallery.kind,
        "recall": gallery.recall,
        "feature_dim": gallery.feature_dim,
        "fingerprint": gallery.fingerprint,
        "network": gallery.network,
        "pattern": gallery.pattern,
        "measured": gallery.measured,
        "versions": versions(),
    }
    write_json(output / "results.json", results)
    if gallery.measured:
        figures = ", ".join(f"{what} {value:.3g}" for what, value in gallery.measured.items())
        CONSOLE.print(f"kind=auto measured: {figures}")
    CONSOLE.print(
        f"gallery: {folder}, {counted(len(gallery), 'image')} ({results['added']:,} added, "
        f"{results['removed']:,} removed), D = {gallery.feature_dim}, {gallery.kind}"
        + (", exact" if gallery.kind == "flat" else f", recall {gallery.recall:.1%}")
    )
    if gallery.network:
        CONSOLE.print(f"network: {gallery.network}")
    return results


def _build(settings: Settings) -> GalleryIndex:
    """Build a gallery of images or of an output of ``task=embed``."""
    is_list = isinstance(settings["input"], list)
    labels = PathLabels(settings)
    before = None if is_list else embedded_before(path_of(settings, "input"), labels)
    if before is None:
        embedder = loaded_embedder(settings)
        images, rows = embed_images(embedder, listed_images(settings, "input", labels), settings)
        known = embedder.fingerprint, embedder.preprocessing, embedder.origin.name
        before = Embedded(*known, images, rows)
    collectives.leave_to_first()
    paths, cameras, identities, sessions, tracklets, _ = zip(*before.images, strict=True)
    gallery = checked(
        "index",
        lambda: GalleryIndex.build(
            before.rows,
            paths,
            cameras=cameras,
            identities=identities,
            sessions=sessions,
            tracklets=tracklets,
            fingerprint=before.fingerprint,
            kind=settings["kind"],
        ),
    )
    gallery.pattern, gallery.preprocessing = labels.pattern, before.preprocessing
    gallery.network = before.network
    return gallery


def _add(gallery: GalleryIndex, settings: Settings) -> int:
    """Add the images of ``add`` that are not in the gallery, and return their number."""
    embedder = loaded_embedder(settings)
    gallery.check_fingerprint(embedder.fingerprint, embedder.preprocessing)
    known = set(gallery.table.paths)
    labels = PathLabels(settings, gallery)
    listed = listed_images(settings, "add", labels)
    gallery.pattern = gallery.pattern or labels.pattern
    images = [image for image in listed if image.path not in known]
    if len(images) < len(listed):
        CONSOLE.print(f"already in the gallery: {counted(len(listed) - len(images), 'image')}")
    if not images:
        return 0
    without = sum(not image.camera for image in images)
    if without and labels.pattern is None and (gallery.table.cameras != NO_NAME).any():
        CONSOLE.print(
            f"note: the gallery has cameras, but those of {counted(without, 'image')} of "
            f"add={settings['add']} are unknown; pattern= reads them from paths"
        )
    images, rows = embed_images(embedder, images, settings)
    paths, cameras, identities, sessions, tracklets, _ = zip(*images, strict=True)
    added = gallery.add(
        rows, paths, cameras=cameras, identities=identities, sessions=sessions,
        tracklets=tracklets,
    )  # fmt: skip
    return len(added)
