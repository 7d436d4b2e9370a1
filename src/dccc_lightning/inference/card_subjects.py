"""Subjects of a network, as its model card names them: people, vehicles, or those of the user."""

from collections.abc import Mapping
from typing import Any, NamedTuple

VEHICLES = frozenset({"cityflow", "vehicleid", "veri776", "veri_wild"})
"""Data sets of vehicles; the other layouts of the package are of people."""

_LAYOUTS = "dccc_lightning.data."
_OWN = ("ImageFolder", "SeveralDatasets")
"""Data sets whose subjects the user chooses."""

_UNNAMED = ("folder", "several")
"""Names of data sets that were not given one."""


class Subjects(NamedTuple):
    """Sentences of a model card.

    Attributes:
        plural: Words of the title.
        one: Words for one of them.
        intended: Text of the intended use.
        limits: List of the limits.
    """

    plural: str
    one: str
    intended: str
    limits: str


_PEOPLE = Subjects(
    "people",
    "a person",
    """\
Comparing crops of persons detected by other software: the higher the cosine of two embeddings, the
more similar the persons look. For research on re-identification, and for search in footage that
the operator may lawfully keep and search.

Not for identifying people by name, tracking people without a legal basis and their knowledge,
inferring personal attributes (origin, health, belief), or as the only basis of a decision about a
person: a human must look at the images before acting on a match.
""",
    """\
- It compares clothes, shape and colour: a person in other clothes is not recognised, and two people
  in similar clothes are confused.
- Metrics hold for the cameras of the test set. On other cameras they are lower, often much lower:
  measure on your own labelled images first.
- Error rates may differ between groups of people. Differences by skin, age, sex or disability were
  not measured.
- A cosine is not a probability: choose a threshold on images of the cameras in question.
- Crops of several people, of body parts, or without people get an embedding like any other.
""",
)

_COMPARING = """\
Comparing crops of {plural} detected by other software: the higher the similarity of two embeddings,
the more alike they look. """

_ALIKE = """\
Metrics hold for images like those of the test set. On others they are lower, often much
  lower: measure on your own labelled images first.
- A similarity is not a probability: choose a threshold on images of the kind in question.
- Crops of several {plural}, of parts of one, or without one get an embedding like any other.
"""

_VEHICLES = Subjects(
    "vehicles",
    "a vehicle",
    f"""{_COMPARING.format(plural="vehicles")}For research on re-identification, and for search in
footage that the operator may lawfully keep and search.

Not for following people by their vehicles without a legal basis, or as the only basis of a decision
about a person: a human must look at the images before acting on a match.
""",
    f"""\
- It compares shape, colour and marks: two vehicles of one model and colour are confused.
- {_ALIKE.format(plural="vehicles")}""",
)


def subjects_of(dataset: str, settings: Mapping[str, Any] | None, rotations: int) -> Subjects:
    """Return the subjects of a network, as far as its training tells them.

    Args:
        dataset: Name of the training dataset.
        settings: Content of the run's config.yaml, if available.
        rotations: Turns with which the network embeds images.

    >>> subjects_of("veri776", None, 1).one, subjects_of("cows", None, 4).one
    ('a vehicle', 'a subject like those of cows, seen from above in any orientation')
    """
    if dataset in VEHICLES:
        return _VEHICLES
    target = str(((settings or {}).get("dataset") or {}).get("_target_"))
    layout = target.startswith(_LAYOUTS) and not target.endswith(_OWN)
    if rotations == 1 and (layout or dataset.startswith("synthetic")):
        return _PEOPLE
    named = "the training images" if dataset in _UNNAMED else dataset
    above = ", seen from above in any orientation" if rotations > 1 else ""
    return Subjects(
        f"the subjects of {named}",
        f"a subject like those of {named}{above}",
        f"""{_COMPARING.format(plural="subjects")}They must be of the kind
of {named}: the model was not tested on others.

Not as the only basis of a decision: a human must look at the images before acting on a match. If
the subjects are people, neither for identifying them by name, nor for tracking them without a legal
basis and their knowledge.
""",
        f"""\
- It compares looks: a subject that has changed is not recognised, and two that look alike are
  confused.
- {_ALIKE.format(plural="subjects")}""",
    )
