"""Tracklets as constraints: one individual each, and another one where two overlap in time."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.constraints import Links
from dccc_lightning.data.records import UNKNOWN

Ints = NDArray[np.int64]


def tracklet_links(
    tracklets: Ints, cameras: Ints, sessions: Ints, frames: Ints, names: Sequence[object] = ()
) -> tuple[Links, Links]:
    """Return the pairs of images of one individual and of different ones.

    A tracklet is the images with one tracklet, camera and session: the same number under another
    camera is another tracklet. It lasts from its first frame to its last. Two tracklets of a camera
    and session that have a frame of that time in common show two individuals. One without frames or
    camera overlaps with none.

    Args:
        tracklets: (N,) tracklets, ``UNKNOWN`` for none.
        cameras: (N,) cameras, ``UNKNOWN`` where unknown.
        sessions: (N,) sessions, ``UNKNOWN`` where unknown.
        frames: (N,) frames, ``UNKNOWN`` where unknown.
        names: Names of the tracklets by number, for messages; their numbers by default.

    Returns:
        Links of each image of a tracklet to its first image, and of the first images of tracklets
        that overlap.
    """
    images: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    keys = zip(cameras.tolist(), sessions.tolist(), tracklets.tolist(), strict=True)
    for image, key in enumerate(keys):
        if key[-1] != UNKNOWN:
            images[key].append(image)
    same, spans = [], defaultdict(list)
    for key, members in images.items():
        name = str(names[key[-1]] if len(names) else key[-1])
        reason = f"tracklet {name}"
        same += [(members[0], image, reason) for image in members[1:]]
        known = [int(frames[image]) for image in members if frames[image] != UNKNOWN]
        if known and key[0] != UNKNOWN:
            spans[key[0], key[1]].append((min(known), max(known), members[0], name))
    different = []
    for own in spans.values():
        running: list[tuple[int, int, int, str]] = []
        for start, end, image, name in sorted(own):
            running = [other for other in running if other[1] >= start]
            different += [
                (other, image, f"tracklets {earlier} and {name}, which overlap in time")
                for _, _, other, earlier in running
            ]
            running.append((start, end, image, name))
    return Links.of(same), Links.of(different)
