"""Self-contained pages: templates with escaped text, and pictures inside the page."""

import base64
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ecgbench.report.ecg_paper import png_bytes
from ecgbench.report.table import to_markdown


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows in words; a wide one keeps a readable width on a phone and scrolls sideways."""

    png: bytes
    alt: str
    caption: str = ""
    wide: bool = False

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, from the PNG's header."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(self.png[20:24], "big")


Pictures = dict[str, Picture | list[Picture] | None]
"""Pictures by their name in a template; None for what a run has no data of."""


def picture(figure: Figure, alt: str, caption: str = "", wide: bool = False) -> Picture:
    """A figure as a PNG picture."""
    return Picture(png_bytes(figure), alt, caption, wide)


def picture_if(figure: Figure | None, alt: str, caption: str = "", wide: bool = False) -> Picture | None:
    """A figure as a picture, or None where there is none."""
    return None if figure is None else picture(figure, alt, caption, wide)


def render(template: str, **page: object) -> str:
    """A template of this package filled in; text is escaped in `.html.jinja`, and left alone in `.md.jinja`."""
    environment = Environment(
        loader=PackageLoader("ecgbench.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = to_markdown
    return environment.get_template(template).render(**page)
