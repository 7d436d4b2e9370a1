"""Pages from the templates: self-contained HTML in which every value is escaped."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dccc_lightning.reports.figures.chart import PALETTE, Chart, to_svg


def render(template: str, **values: Any) -> str:
    """Render a file of ``templates/`` with ``values``."""
    environment = Environment(
        loader=PackageLoader("dccc_lightning.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    filters: Mapping[str, Callable[..., Any]] = {"svg": _svg, "data_uri": _data_uri}
    environment.filters |= filters

    def vendored(script: str, licences: str) -> Markup:
        """Return a script of others, which is no template, below its licences."""
        loader = environment.loader
        assert loader is not None
        code, told = (loader.get_source(environment, name)[0] for name in (script, licences))
        return Markup(f"/*\n{told}*/\n{code}")

    environment.globals["vendored"] = vendored
    return environment.get_template(template).render(palette=PALETTE, **values)


def _svg(chart: Chart) -> Markup:
    return Markup(to_svg(chart))


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
