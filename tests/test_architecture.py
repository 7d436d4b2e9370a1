"""Imports run downwards only: the package's modules, by layer."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dccc_lightning

PACKAGE = Path(dccc_lightning.__file__).parent
CONFIGURATION = {"hydra", "omegaconf"}
TRAINING_LOOP = {"pytorch_lightning", "lightning", "lightning_fabric"}

# Bottom first. A room is a module, or a folder with all that is in it; the longest name counts.
# A room may import from the layers below its own and from itself, not from its neighbours.
LAYERS = (
    ("", "arguments", "beginnings", "errors", "progress"),  # "": the package itself
    ("checks", "console", "distributed", "faults", "files", "lock", "tensors"),
    ("ranges",),
    ("data.records",),  # plain data that everything may speak of
    ("clustering",),  # below retrieval, which re-ranks by the same neighbourhoods
    ("data", "losses", "memory", "metrics_table", "models", "retrieval"),
    ("checkpointing", "evaluated", "optimization", "reports", "wandb_logger"),
    ("datamodule", "inference", "lightning_internals", "module", "supervised"),
    ("embedding",),
    ("callbacks",),
    ("construction",),
    ("loggers", "presets", "processes"),
    ("trainer_checks",),
    ("preflight",),
    ("assembly",),
    ("tasks",),
    ("sweeping",),
    ("cli",),
    ("__main__",),
)  # fmt: skip
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
WITHOUT_CONFIGURATION = RANK["construction"]
WITHOUT_TRAINING_LOOP = RANK["evaluated"]


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(path):
    """Every module that a file imports, wherever in it, as absolute dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def own_imports(path):
    """The package's modules among them; what is imported from a module counts as the module."""
    for name in imports(path):
        if name.split(".")[0] == "dccc_lightning":
            inner = name.removeprefix("dccc_lightning").removeprefix(".")
            yield inner if inner in SOURCES else inner.rpartition(".")[0]


def room(name):
    while name not in RANK:
        assert "." in name, f"{name} has no place in LAYERS"
        name = name.rpartition(".")[0]
    return name


def is_allowed(importer, imported):
    ours, theirs = room(importer), room(imported)
    return ours == theirs or RANK[theirs] < RANK[ours]


EDGES = [(name, target) for name, path in SOURCES.items() for target in own_imports(path)]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_module_imports_only_from_below(name):
    wrong = sorted({f"{name} -> {t}" for n, t in EDGES if n == name and not is_allowed(n, t)})
    assert not wrong


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_configuration_stops_at_constructors(name):
    packages = {imported.split(".")[0] for imported in imports(SOURCES[name])}
    if RANK[room(name)] < WITHOUT_CONFIGURATION:
        assert not packages & CONFIGURATION
    if RANK[room(name)] < WITHOUT_TRAINING_LOOP:
        assert not packages & TRAINING_LOOP


def test_no_module_imports_itself_by_detours():
    graph = {name: set() for name in SOURCES}
    for importer, imported in EDGES:
        graph[importer].add(imported)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert len(order) == len(SOURCES)


def test_the_table_of_layers_lists_what_exists():
    assert {"data", "clustering", "callbacks", "tasks", "cli"} <= set(SOURCES)
    assert set(RANK) <= set(SOURCES)
    assert len(EDGES) > 100


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("data.images", "checks", True),
        ("data.images", "data.layout", True),
        ("data.records", "data.images", False),
        ("retrieval.ranking", "data.records", True),
        ("retrieval.ranking", "data.images", False),
        ("retrieval.reranking", "clustering.reciprocal", True),
        ("clustering.jaccard", "retrieval.ranking", False),
        ("clustering.jaccard", "models.embedder", False),
        ("losses", "memory", False),
        ("memory", "module", False),
        ("callbacks.table", "metrics_table", True),
        ("module", "datamodule", False),
        ("tasks.train", "cli", False),
    ],
)
def test_the_rule_tells_up_from_down(importer, imported, allowed):
    assert is_allowed(importer, imported) is allowed
