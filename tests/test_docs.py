"""The documentation: its commands compose, its examples run, its references are complete."""

import ast
import html
import importlib
import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

import dccc_lightning
import documents
from browser import CHROMIUM, chromium
from dccc_lightning.cli import conf_dir
from dccc_lightning.config.preflight import build_dataset
from documents import package_arguments
from test_architecture import ROOMS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text() for path in DOCS.rglob("*.md")}
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text().replace("!!python/name:", ""))


def hook(name):
    """Load a module of docs/hooks/, as mkdocs does: by its path."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


configuration = hook("configuration")


# Commands


COMMANDS = {
    text: arguments for text in documents.COMMANDS if (arguments := package_arguments(text))
}


def commands(text):
    """The arguments of every command of a text that calls the package."""
    return [arguments for c in documents.commands(text) if (arguments := package_arguments(c))]


def test_patterns_in_the_text_can_be_typed_as_they_are():
    for page, content in PAGES.items():
        for text in re.findall(r"`('?[\w.]*pattern=[^`\n]*[?][^`\n]+)`", content):
            (argument,) = shlex.split(text)
            assert "(?P<" in OverridesParser.create().parse_override(argument).value(), page


def test_source_and_adaptation_are_two_commands_that_fit_each_other():
    section = PAGES["models.md"].partition("## Source and adaptation in two commands")[2]
    source, adapted = commands(section.partition("\n## ")[0])
    assert "task=pretrain" in source
    assert "output=source" in source
    assert "model.weights=source/weights.pt" in adapted
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = compose("train", source)
    named = re.findall(r"(?m)^\| (`.*?`) \|", section.partition("\n## ")[0])
    keys = re.findall(r"`([\w.]+)`", " ".join(named))
    assert set(keys) >= {f"pretrain.{key}" for key in settings.pretrain}
    assert all(OmegaConf.select(settings, key, default=0) != 0 for key in keys)


def jobs(arguments):
    """The overrides of every job of a command line, without the flags."""
    parser = OverridesParser.create()
    choices = []
    for argument in arguments:
        override = parser.parse_override(argument)
        swept = override.is_sweep_override()
        key = argument.partition("=")[0]
        values = override.sweep_string_iterator() if swept else ()
        choices.append([f"{key}={value}" for value in values] if swept else [argument])
    return list(itertools.product(*choices))


GROUPS = "|".join(path.name for path in conf_dir().iterdir() if path.is_dir())
CHOICE = re.compile(rf"[+~]*(hydra[./]|({GROUPS})[/@=])")


@cache
def composed(*overrides):
    """The settings as plain containers; commands that choose the same share them."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=list(overrides)))


def is_setting(argument, settings):
    """True if an argument gives a setting that is there another value, which needs no Hydra."""
    key = OverridesParser.create().parse_override(argument).key_or_group
    for part in key.split("."):
        if not isinstance(settings, dict) or part not in settings:
            return False
        settings = settings[part]
    return argument.startswith(f"{key}=")


def test_the_pages_have_commands():
    assert len(COMMANDS) > 60
    assert documents.COMMANDS["python -m dccc_lightning resume=runs/first epochs=32"]
    pages = set(documents.COMMANDS.values())
    assert {"README.md", "docs/models.md", "docs/search.md", "docs/running.md"} <= pages
    for words in (["identity"], ["my_conf"], ["-m", "sweep=dcps_grid"], ["dataset=msmt17"]):
        assert any(all(word in text for word in words) for text in COMMANDS)


def test_sweeps_are_taken_apart():
    assert jobs(["a=1,2", "b=[x,y]"]) == [("a=1", "b=[x,y]"), ("a=2", "b=[x,y]")]


@pytest.mark.parametrize("text", COMMANDS, ids=str)
def test_a_command_composes(text, tmp_path):
    arguments = list(COMMANDS[text])
    sweeps = "-m" in arguments
    if "--config-dir" in arguments:
        place = arguments.index("--config-dir")
        folder = tmp_path / arguments[place + 1]
        write_examples(tmp_path)
        arguments[place : place + 2] = [f"hydra.searchpath=[file://{folder}]"]
    if "--cfg" in arguments:
        place = arguments.index("--cfg")
        arguments[place : place + 2] = []
    arguments = [argument for argument in arguments if not argument.startswith("-")]
    combinations = jobs(arguments)
    assert sweeps or len(combinations) == 1, "a sweep needs -m"
    for overrides in {combinations[0], combinations[-1]}:
        choices = [argument for argument in overrides if CHOICE.match(argument)]
        others = [a for a in overrides if a not in choices]
        if not all(is_setting(argument, composed(*choices)) for argument in others):
            assert composed(*overrides)["task"] is not None


# Examples


def examples(page, language):
    """The titled code of a page by file: blocks of one title are parts of one file."""
    pattern = rf'```{language} title="([^"]+)"\n(.*?)```'
    files = {}
    for title, code in re.findall(pattern, PAGES[page], flags=re.DOTALL):
        files[title] = files.get(title, "") + code
    return files


def write_examples(folder):
    for language in ("python", "yaml"):
        for title, code in examples("extending.md", language).items():
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(code)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The parts of extending.md, importable as a user's own."""
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    yield importlib.import_module("my_parts")
    sys.modules.pop("my_parts", None)


@pytest.fixture
def people(tmp_path):
    """Folders in the layout of the example dataset."""
    for part, identities in (("train", range(12)), ("query", (12, 13)), ("gallery", (12, 13))):
        for identity, camera, shot in itertools.product(identities, range(3), range(2)):
            path = tmp_path / "people" / part / str(identity) / f"{camera}_{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 32), (identity * 18, 255 - identity * 18, camera * 60)).save(path)
    return tmp_path / "people"


KINDS = ("dataset", "model", "scheduler", "memory", "loss")
EXTENDING = [a for a in commands(PAGES["extending.md"]) if "my_conf" in a]
SMALL = [
    "trainer=cpu", "model=resnet10", "image.height=32", "image.width=16", "batch.clusters=4",
    "batch.instances=4", "epochs=2", "iterations=2", "clustering.k1=8", "output=run",
]  # fmt: skip


def test_every_kind_of_part_has_an_example():
    chosen = " ".join(map(" ".join, EXTENDING))
    assert all(f" {kind}=" in chosen for kind in KINDS)
    named = examples("extending.md", "yaml")
    assert {title.split("/")[1] for title in named} == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [a for a in EXTENDING if not {"task=verify", "model=plain"} & set(a)], ids=str
)
def test_an_own_part_trains(arguments, parts, people, command, tiny, tmp_path):
    arguments = [argument.replace("PEOPLE", str(people)) for argument in arguments]
    own_data = any(argument.startswith("dataset=") for argument in arguments)
    small = SMALL if own_data else [*tiny, "output=run"]
    outcome = command(*arguments, *small)
    assert outcome.code == 0, outcome
    assert (tmp_path / "run" / "results.json").exists()
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    for argument in arguments[2:]:
        key = argument.partition("=")[0]
        if key in KINDS:
            assert settings[key]["_target_"].startswith("my_parts.")


@pytest.mark.slow
def test_a_run_with_an_own_backbone_is_evaluated_with_its_model(parts, command, tiny, tmp_path):
    (arguments,) = [a for a in EXTENDING if "model=plain" in a]
    assert command(*arguments, *tiny, "output=run").code == 0
    task = [*arguments[:2], "task=evaluate", "ckpt=run", "trainer=cpu", *tiny[:4]]
    assert command(*task, *arguments[2:], "output=again").code == 0
    ours, again = (
        json.loads((tmp_path / n / "results.json").read_text()) for n in ("run", "again")
    )
    (scores,) = again["scores"]["run"]["synthetic"].values()
    assert scores["mAP"] == pytest.approx(ours["best"]["mAP"], abs=1e-3)
    refused = command(*task, "output=other")
    assert refused.code == 2
    assert "its backbone is a custom module, my_parts.PlainNet" in refused.err


def test_the_example_layout_is_verified(command, tmp_path):
    write_examples(tmp_path)
    for part, identities in (("train", range(6)), ("query", (7, 8)), ("gallery", (7, 8))):
        for identity, camera, shot in itertools.product(identities, (1, 2), range(2)):
            path = tmp_path / "campus" / part / f"p{identity:04d}_cam{camera}_{shot:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            color = (identity * 30, shot * 99, camera * 90)
            Image.new("RGB", (16, 32), color).save(path)
    settings = yaml.safe_load((tmp_path / "my_conf/dataset/campus.yaml").read_text())["dataset"]
    splits = build_dataset({**settings, "root": str(tmp_path)}).splits()
    assert [len(part) for part in (splits.train, splits.query, splits.gallery)] == [24, 8, 8]
    assert splits.train.identities.max() == 5
    assert set(splits.train.cameras) == {0, 1}
    (arguments,) = [a for a in EXTENDING if "task=verify" in a]
    outcome = command(*(a.replace("CAMPUS", str(tmp_path)) for a in arguments))
    assert outcome.code == 0, outcome


def test_the_example_dataset_reads_its_folders(parts, people, tmp_path):
    splits = parts.PersonFolders(str(people)).splits()
    assert [len(part) for part in (splits.train, splits.query, splits.gallery)] == [72, 12, 12]
    assert splits.train.cameras.max() == 2
    with pytest.raises(dccc_lightning.errors.UserError, match="no images"):
        parts.PersonFolders(str(tmp_path / "nowhere")).splits()


@pytest.mark.slow
def test_a_wrong_setting_of_an_own_part_is_one_line(parts, command, tiny):
    arguments = ("--config-dir", "my_conf", "scheduler=square_root", "scheduler.floor=0.9")
    outcome = command(*arguments, *tiny)
    assert outcome.code == 2
    assert "scheduler.floor must be" in outcome.err


def test_the_example_memory_follows_its_docstring(parts):
    import torch

    memory = parts.CountingMemory(2, momentum=0.5)
    memory.rebuild(torch.eye(2), torch.tensor([0, 1]))
    memory.update(torch.tensor([[0.0, 2.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    expected = torch.tensor([0.25, 0.75])  # two members leave a quarter of the old centroid
    torch.testing.assert_close(memory.centroids[0], expected / expected.norm())
    assert memory.centroids[1].tolist() == [0.0, 1.0]


def test_the_example_loss_weighs_by_the_teacher(parts):
    import torch

    student = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    teacher = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    loss = parts.TrustedLoss()(student, teacher, torch.tensor([0, 0]))
    believed = torch.nn.functional.cross_entropy(student[:1], torch.tensor([0]))
    torch.testing.assert_close(loss, believed / 2)  # the second label is not believed at all


def test_the_snippets_of_the_quickstart_run(capsys, world_folder):
    files = examples("quickstart.md", "python")
    assert set(files) == {"search.py", "pieces.py"}
    small = f"SyntheticPedestrians(root={str(world_folder)!r}, train_identities=4, cameras=2)"
    search = files["search.py"].replace("SyntheticPedestrians()", small)
    assert small in search
    exec(compile(search, "search.py", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5
    exec(compile(files["pieces.py"], "pieces.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "10", "20"]
    assert "20 clusters" in lines[0]


# The configuration reference


def leaves(node, prefix=""):
    """Every setting of a file with its value, found without looking at its text."""
    for name, value in (node or {}).items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{key}.")
        elif key != "defaults":
            yield key, value


def test_the_reference_has_every_setting_with_default_and_comment():
    parts = re.split(r"(?m)^### (.*)$", configuration.render())
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    for path in conf_dir().rglob("*.yaml"):
        group = path.parent.relative_to(conf_dir()).as_posix()
        title = "train.yaml" if group == "." else f"{group}={path.stem}"
        assert_complete(path.read_text(), sections[title])


def assert_complete(text, section):
    """Compare a file with its section: every setting, default and comment."""
    rows = re.findall(
        r"<tr><td><code>(.*?)</code></td><td>(.*?)</td><td>(.*?)</td></tr>", section, re.DOTALL
    )
    shown = {key: html.unescape(re.sub(r"<[^>]+>", "", value)) for key, value, _ in rows}
    settings = dict(leaves(yaml.safe_load(text)))
    for key, value in settings.items():
        assert key in shown
        if isinstance(value, str) and "\n" in value:
            assert shown[key].split() == value.split()
        else:
            assert yaml.safe_load(shown[key]) == value
    assert {key for key in shown if shown[key]} == set(settings)
    prose = re.sub(r"[`\s]+", "", html.unescape(re.sub(r"<[^>]+>", "", section)))
    for line in re.sub(r"(?m)^defaults:\n(?: .*\n)*", "", text).splitlines():
        comment = re.search(r"(?:^|\s)#\s?(.*)", line)
        if comment and "@package" not in line:
            assert re.sub(r"[`\s]+", "", comment[1]) in prose, line


def test_the_reference_reads_comments_above_beside_and_below(tmp_path):
    (tmp_path / "train.yaml").write_text(
        "# What it is,\n# in two lines.\na: 1   # beside\n       # and below\n# above\nb:\n"
        "  c: [\n    1, 2,\n    3]  # a | list\nd: {e: null, f: x}   # of both\ng: '#no comment'\n"
    )
    option = configuration.read_option(tmp_path / "train.yaml", tmp_path)
    assert option.about == "What it is, in two lines."
    assert [(s.key, s.default, s.comment) for s in option.settings] == [
        ("a", "1", "beside and below"),
        ("b", "", "above"),
        ("b.c", "[ 1, 2, 3]", "a | list"),
        ("d", "", "of both"),
        ("d.e", "null", ""),
        ("d.f", "x", ""),
        ("g", "'#no comment'", ""),
    ]
    (tmp_path / "bare.yaml").write_text("a: 1\n")
    with pytest.raises(ValueError, match="begin with a comment"):
        configuration.read_option(tmp_path / "bare.yaml", tmp_path)


# Links to the source, the API reference, formulas


SOURCE_LINK = re.compile(r"\]\(((?:\.\./)+[^)#]+)(?:#([^)]+))?\)")
LINKS = sorted(
    {(page, *found) for page, text in PAGES.items() for found in SOURCE_LINK.findall(text)}
)


def definitions(body, prefix=""):
    """Every function and class below a node, with its line."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name, node.lineno
            yield from definitions(node.body, f"{prefix}{node.name}.")


def test_what_a_page_links_to_exists():
    links = hook("source_links")
    for page, link, name in LINKS:
        target = (DOCS / page).parent / link
        assert target.is_file(), (page, link)
        assert links.LINK.fullmatch(f"]({link}#{name})" if name else f"]({link})"), (page, link)
        if not name:
            continue
        found = links.anchor(target.resolve().relative_to(ROOT), name)
        if target.suffix == ".py":
            lines = dict(definitions(ast.parse(target.read_text()).body))
            assert found == f"line-{lines[name]}", (page, link)
    with pytest.raises(LookupError, match="no heading is called nothing"):
        links.anchor(Path("README.md"), "nothing")


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
STOPS = re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", CONTRIBUTING)


def test_what_contributing_names_exists():
    for file, name in STOPS:
        places = [root / file for root in (ROOT, ROOT / "src" / "dccc_lightning")]
        (path,) = [place for place in places if place.is_file()]
        assert not name or name in dict(definitions(ast.parse(path.read_text()).body)), file


def test_the_walks_have_stops_and_the_settings_that_they_name():
    walks = CONTRIBUTING.partition("## Three walks")[2].partition("\n## ")[0].split("\n### ")[1:]
    assert len(walks) == 3
    for walk in walks:
        stops = re.findall(r"(?m)^\d+\. `[\w/]+\.py: [\w.]+` ", walk)
        assert len(stops) == len(re.findall(r"(?m)^\d+\. ", walk)) >= 7
    named = re.findall(r"`(conf/[\w/]+\.yaml)`", CONTRIBUTING)
    assert len(named) >= 4
    assert all((ROOT / path).is_file() for path in named)


def test_contributing_lists_every_room_from_bottom_to_top():
    rooms = re.findall(r"(?m)^\| `([\w.]+)` \|", CONTRIBUTING.partition("## Rooms")[2])
    assert rooms == [room for room in ROOMS if room]


def test_every_section_of_the_method_names_its_source():
    sections = re.split(r"(?m)^## ", PAGES["method.md"])[1:]
    without = {"Published", "What"}  # figures of papers, and of what was recorded
    for section in sections:
        if section.split()[0] not in without:
            assert "../src/dccc_lightning/" in section, section.splitlines()[0]


def test_the_api_reference_has_the_public_names():
    named = re.findall(r"(?m)^::: (\S+)$", "\n".join(PAGES.values()))
    found = [getattr(importlib.import_module(n.rpartition(".")[0]), n.rpartition(".")[2])
             for n in named]  # fmt: skip
    assert all(thing.__doc__ for thing in found)
    missing = [n for n in dccc_lightning._PUBLIC if getattr(dccc_lightning, n) not in found]
    assert not missing


def test_the_library_page_is_a_script_of_at_most_40_lines():
    code = "".join(documents.snippets("docs/library.md"))
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    assert {"DCCCModule", "ReIDDataModule", "Recluster", "load_embedder", "GalleryIndex"} <= used
    imported = re.findall(r"(?m)^from (dccc_lightning\S*) import", code)
    assert imported == ["dccc_lightning"]


def test_doctests_become_code():
    fenced = hook("doctests").fenced
    assert fenced("Text.\n\n>>> f(1)\n[0.5, 1]\n\nMore.") == (
        "Text.\n\n```python\n>>> f(1)\n[0.5, 1]\n```\n\nMore."
    )


def test_formulas_become_mathml():
    formulas = hook("formulas")
    assert formulas.block(r"\frac{a_{ij}}{2}") == (
        '<math display="block"><mrow><mfrac><mrow><msub><mi>a</mi><mrow><mi>i</mi><mi>j</mi></mrow>'
        "</msub></mrow><mrow><mn>2</mn></mrow></mfrac></mrow></math>"
    )
    assert '<mo form="prefix">' in formulas.block("(-x)")
    assert '<mo form="infix">' in formulas.block("1 - x")
    page = "Text\n```math\nx_i^2\n\\mu\n```\n"
    assert formulas.on_page_markdown(page).count("<math") == 2
    for wrong in (r"\unknown", "ä", r"\frac{1}"):
        with pytest.raises(ValueError, match="formula"):
            formulas.block(wrong)


def test_every_page_is_in_the_navigation():
    def pages(node):
        if isinstance(node, str):
            return [node]
        members = node.values() if isinstance(node, dict) else node
        return [page for member in members for page in pages(member)]

    listed = pages(SITE["nav"])
    assert sorted(listed) == sorted([*PAGES, configuration.PAGE])


# The built site


class Loads(HTMLParser):
    """What a page makes a browser load by itself."""

    def __init__(self):
        super().__init__()
        self.loads = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag != "a" and "src" in attributes:
            self.loads.append(attributes["src"])
        if tag == "link" and attributes.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(attributes["href"])
        self.loads += re.findall(r"url\(([^)]*)\)", attributes.get("style") or "")


@pytest.fixture(scope="module")
def site(made_once):
    """The site, built as ``make docs`` builds it."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")

    def fill(folder):
        built = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
            cwd=ROOT,
            env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stdout + built.stderr

    return made_once("site", fill)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {page.replace(".md", ".html") for page in PAGES} <= pages
    assert "configuration.html" in pages
    assert not (site / "hooks").exists()
    api = (site / "api" / "learning.html").read_text()
    assert 'id="dccc_lightning.memory.ClusterMemory.update"' in api


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        parser = Loads()
        parser.feed(text)
        assert parser.loads
        outside = [url for url in parser.loads if re.match(r"\w+://|//", url)]
        assert not outside, page
        # Material's script fetches these by itself where a page has them.
        assert 'class="mermaid"' not in text
        assert 'data-md-component="source"' not in text
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", sheet.read_text()), sheet


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("page", ["index.html", "api/learning.html"])
def test_the_search_works_from_disk(page, site, tmp_path):
    address = f"{(site / page).as_uri()}?q=centroids"
    dom, complaints = chromium(tmp_path, address, "--virtual-time-budget=20000")
    assert complaints == []
    found = re.findall(r'<a href="([^"?#]+)[^"]*" class="md-search-result__link', dom)
    assert any(link.endswith("api/learning.html") for link in found), dom[:200]


TERMINAL = hook("terminal_picture")


def test_the_picture_of_the_terminal_has_all_lines_and_loads_nothing():
    said = "note: \x1b[2msmall\x1b[0m\n  1/16 <0.5> \x1b[1;32m59.3%\x1b[0m\n│ mAP │ 62.2 │\n"
    text = TERMINAL.picture(said)
    root = ElementTree.fromstring(text)
    rows = {}
    for part in root.iter("{http://www.w3.org/2000/svg}text"):
        rows.setdefault(float(part.get("y")), []).append(part.text.replace("\xa0", " "))
    lines = ["".join(parts).strip() for _, parts in sorted(rows.items())]
    assert lines == ["$ make train", "note: small", "1/16 <0.5> 59.3%", "│ mAP │ 62.2 │"]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_picture_of_the_readme_is_of_a_whole_run():
    text = TERMINAL.PICTURE.read_text()
    root = ElementTree.fromstring(text)
    shown = "\n".join("".join(part.itertext()) for part in root.iter()).replace("\xa0", " ")
    for part in ("make train", "16/16", "teacher, last epoch", "outputs: ~/dccc-lightning/"):
        assert part in shown
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert f"]({TERMINAL.PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_a_link_to_the_source_opens_its_line(site):
    page = (site / "concepts.html").read_text()
    link = re.search(
        r'href="(files/src/dccc_lightning/memory_py\.html)#(line-\d+)"><code>C[^<]*up', page
    )
    listing = (site / link[1]).read_text()
    line = re.search(rf'<span id="{link[2]}">(.*?)\n', listing)[1]
    assert re.sub(r"<[^>]+>", "", line).strip().startswith("def update(")
    assert "<math" in page
