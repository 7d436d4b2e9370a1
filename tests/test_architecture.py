"""Imports run downwards only: the package's modules, by layer."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dccc_lightning

PACKAGE = Path(dccc_lightning.__file__).parent
CONFIGURATION = {"hydra", "omegaconf"}
TRAINING_LOOP = {"pytorch_lightning", "lightning", "lightning_fabric"}

# Bottom first. A room is a folder, or a module of the root; the longest name counts. A room may
# import from the rooms below it and from itself.
ROOMS = (
    "errors", "common", "", "data", "models", "neighbors", "metrics", "clustering", "gallery",
    "identities", "losses", "neighbor_loss", "memory", "proxy_memory", "reports", "training",
    "module", "datamodule", "inference", "training.callbacks", "config", "tasks", "sweeps", "cli",
    "__main__",
)  # fmt: skip
RANK = {room: rank for rank, room in enumerate(ROOMS)}
WITHOUT_CONFIGURATION = RANK["config"]
WITHOUT_TRAINING_LOOP = RANK["training"]
MOST_IN_THE_ROOT = 10


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path):
    """Every module that a file imports at run time, wherever in it, as absolute dotted names."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if not is_for_type_checkers(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


IMPORTS = {name: list(imports(path)) for name, path in SOURCES.items()}


def own_imports(names):
    """The package's modules among them; what is imported from a module counts as the module."""
    for name in names:
        if name.split(".")[0] == "dccc_lightning":
            inner = name.removeprefix("dccc_lightning").removeprefix(".")
            yield inner if inner in SOURCES else inner.rpartition(".")[0]


def room(name):
    while name not in RANK:
        assert "." in name, f"{name} has no place in ROOMS"
        name = name.rpartition(".")[0]
    return name


def is_allowed(importer, imported):
    ours, theirs = room(importer), room(imported)
    return ours == theirs or RANK[theirs] < RANK[ours]


EDGES = [(name, target) for name, found in IMPORTS.items() for target in own_imports(found)]


def test_a_module_imports_only_from_below():
    assert not sorted({f"{n} -> {t}" for n, t in EDGES if not is_allowed(n, t)})


def test_configuration_stops_at_constructors():
    for name, found in IMPORTS.items():
        packages = {imported.split(".")[0] for imported in found}
        if RANK[room(name)] < WITHOUT_CONFIGURATION:
            assert not packages & CONFIGURATION, name
        if RANK[room(name)] < WITHOUT_TRAINING_LOOP:
            assert not packages & TRAINING_LOOP, name


def test_no_module_imports_itself_by_detours():
    graph = {name: set() for name in SOURCES}
    for importer, imported in EDGES:
        graph[importer].add(imported)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert len(order) == len(SOURCES)


def test_every_room_exists_and_the_root_is_small():
    assert set(ROOMS) <= set(SOURCES)
    assert len(EDGES) > 100
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_IN_THE_ROOT


def test_every_folder_is_in_the_wheel():
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(PACKAGE.parent).as_posix() for path in SOURCES.values()}
    assert {folder.replace("/", ".") for folder in folders} <= set(packages)


def test_no_two_modules_share_a_name():
    names = [path.stem for path in SOURCES.values() if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("data.image_cache", "common.checks", True),
        ("data.image_cache", "data.datasets.folder", True),
        ("common.checks", "data.records", False),
        ("metrics.reranking", "neighbors.reciprocal", True),
        ("neighbors.nearest", "metrics.reranking", False),
        ("clustering.jaccard", "gallery.calibration", False),
        ("clustering.jaccard", "models.embedder", True),
        ("losses", "memory", False),
        ("memory", "module", False),
        ("module", "datamodule", False),
        ("training.supervised", "training.callbacks.recluster", False),
        ("training.callbacks.recluster", "training.supervised", True),
        ("tasks.train", "cli.command", False),
    ],
)
def test_the_rule_tells_up_from_down(importer, imported, allowed):
    assert is_allowed(importer, imported) is allowed
