"""Size of the images of weights that are used as they are."""

from collections.abc import Iterable

from dccc_lightning.config.instantiate import Settings

GIVEN = "image_given"
"""Key of the settings: the user has set ``image.height`` or ``image.width``."""

_SIZES = ("experiment", "image", "image.height", "image.width")
"""Arguments that set a size."""


def is_image_given(arguments: Iterable[str]) -> bool:
    """Return True if arguments of the command line set the size, or choose an experiment's.

    >>> is_image_given(["task=embed", "image.height=64"]), is_image_given(["dataset=veri776"])
    (True, False)
    """
    names = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    return not names.isdisjoint(_SIZES)


def with_stated_size(settings: Settings) -> tuple[Settings, str]:
    """Return settings with the image size that the weights of ``model`` state.

    Sizes that the user has set are kept, and those of the dataset's recipe if nothing is stated.

    Returns:
        The settings, and where their size comes from.
    """
    from dccc_lightning.models.stated_size import stated_size  # noqa: PLC0415  (imports torch)

    model = settings["model"]
    if settings.get(GIVEN, True):
        return settings, "by image.height and image.width"
    size = stated_size(model["weights"], model["backbone"], model.get("dialect", "auto"))
    if size is None:
        return settings, "by image.height and image.width, as the weights do not state it"
    image = {**settings["image"], "height": size[0], "width": size[1]}
    origin = "as the weights state, unless image.height and image.width are set"
    return {**settings, "image": image}, origin
