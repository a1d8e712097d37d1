"""The paper that diagrams are drawn on: inches from the top left, one palette, files written whole.

Colours are of Okabe and Ito's colour-blind-safe palette, and no meaning hangs on colour alone: protected
green is a full bar, permitted green is hatched, red is a line, so that a grey print reads the same.

matplotlib is imported when text is measured or a sheet is saved. Without pyplot no figure outlives that.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from signals.errors import InputError
from signals.formats.files import write_whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
PNG_DPI = 160

INK = "#1A1A1A"
MUTED = "#5E5E5E"
FAINT = "#D5D5D5"
PAPER = "#FFFFFF"
ROAD = "#E4E4E4"
GREEN = "#45B890"
GREEN_LIGHT = "#D9F0E6"
GREEN_DARK = "#00513C"
YELLOW = "#F5DF4D"
RED = "#A3283B"
FORWARD = "#0072B2"
BACKWARD = "#D55E00"

Align = Literal["left", "center", "right"]
VerticalAlign = Literal["top", "center", "bottom", "baseline"]
Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, right, top and bottom."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """How a letter of a state string is drawn: a bar of a part of the row's height, or a line."""

    name: str
    fill: str
    edge: str
    height: float
    hatch: str = ""


PROTECTED = Lamp("protected green", GREEN, GREEN_DARK, 1.0)
PERMITTED = Lamp("permitted green (yields)", GREEN_LIGHT, GREEN_DARK, 1.0, "//////")
AMBER = Lamp("yellow", YELLOW, INK, 1.0)
RED_AMBER = Lamp("red and yellow", YELLOW, RED, 0.55, "......")
STOPPED = Lamp("red", RED, RED, 0.16)
STOP_THEN_GO = Lamp("red, go after a stop", PAPER, RED, 0.5)
DARK = Lamp("dark or flashing", "#BBBBBB", "#BBBBBB", 0.05)
LAMPS = {
    "G": PROTECTED,
    "g": PERMITTED,
    "y": AMBER,
    "Y": AMBER,
    "u": RED_AMBER,
    "r": STOPPED,
    "R": STOPPED,
    "s": STOP_THEN_GO,
    "o": DARK,
    "O": DARK,
}

_STYLE = {
    "svg.hashsalt": "greensplit",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "hatch.linewidth": 0.6,
    "path.simplify": False,
}
_METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def printable(text: str) -> str:
    """Text with what can't be printed replaced, so that ids from anywhere fit into a figure or a page."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@lru_cache(maxsize=4096)
def text_width_in(text: str, size_pt: float, bold: bool = False) -> float:
    """Width of a line of text [in]."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size_pt, weight="bold" if bold else "normal")
    with _quiet_about_glyphs():
        width, _, _ = text_to_path.get_text_width_height_descent(printable(text), font, False)
    return float(width) / 72


def wrapped(text: str, size_pt: float, width_in: float, *, bold: bool = False, most: int = 0) -> list[str]:
    """Lines no wider than `width_in`, broken at blanks, commas, plus signs and underscores, else anywhere.

    With `most`, no more lines than that: the middle of a text that is too long becomes an ellipsis.
    """
    text = printable(text)
    lines = _broken(text, size_pt, width_in, bold)
    if most and len(lines) > most:
        keep = len(text) - 1
        while len(lines) > most and keep > 2:
            keep = min(keep - 1, int(keep * 0.96))
            head = (keep + 1) // 2
            lines = _broken(
                f"{text[:head].rstrip()}…{text[len(text) - (keep - head) :].lstrip()}",
                size_pt,
                width_in,
                bold,
            )
    return lines


def _broken(text: str, size_pt: float, width_in: float, bold: bool) -> list[str]:
    lines: list[str] = []
    rest = text
    while rest:
        if text_width_in(rest, size_pt, bold) <= width_in:
            lines.append(rest)
            break
        low, high = 1, len(rest)
        while low < high:
            middle = (low + high + 1) // 2
            if text_width_in(rest[:middle].rstrip(), size_pt, bold) <= width_in:
                low = middle
            else:
                high = middle - 1
        cut = low
        seams = [k for k in range(max(1, cut // 2), cut + 1) if rest[k - 1] in " ,+_"]
        cut = seams[-1] if seams else cut
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return lines or [""]


@contextmanager
def _quiet_about_glyphs() -> Iterator[None]:
    # An id in a script that the font lacks shows boxes; no reason to stop, or to warn a thousand times.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


class Sheet:
    """A sheet of paper of a given size [in]; x runs to the right and y downwards, both in inches.

    What is drawn later lies on top. The sheet keeps a list of what to draw; the figure exists only while
    `save` runs, under matplotlib's own defaults whatever the user's matplotlibrc says.
    """

    def __init__(self, width_in: float, height_in: float) -> None:
        self.width_in = width_in
        self.height_in = height_in
        self._drawing: list[Callable[[Axes, float], None]] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size_pt: float = 7.0,
        *,
        align: Align = "left",
        vertical: VerticalAlign = "center",
        bold: bool = False,
        colour: str = INK,
        backed: bool = False,
    ) -> None:
        """A line of text; nothing in it is markup. `backed` text has a rim of paper, to lie on lines."""

        def draw(axes: Axes, layer: float) -> None:
            from matplotlib.patheffects import withStroke

            axes.text(
                x,
                y,
                printable(text),
                fontsize=size_pt,
                ha=align,
                va="center_baseline" if vertical == "center" else vertical,
                fontweight="bold" if bold else "normal",
                color=colour,
                zorder=layer,
                parse_math=False,
                path_effects=[withStroke(linewidth=2.0, foreground=PAPER)] if backed else None,
            )

        self._drawing.append(draw)

    def polygons(
        self,
        outlines: Sequence[Sequence[Point]],
        fill: str,
        *,
        edge: str = "none",
        width_pt: float = 0.0,
        hatch: str = "",
        alpha: float = 1.0,
        within: Box | None = None,
    ) -> None:
        """Filled shapes of one look; nothing of them is seen outside of `within`."""

        def draw(axes: Axes, layer: float) -> None:
            from matplotlib.collections import PolyCollection

            shapes = PolyCollection(
                [list(outline) for outline in outlines],
                facecolors=fill,
                edgecolors=edge,
                linewidths=width_pt,
                alpha=alpha if alpha < 1 else None,
                zorder=layer,
            )
            if hatch:
                shapes.set_hatch(hatch)
            axes.add_collection(shapes, autolim=False)
            _clip(shapes, axes, within)

        if outlines:
            self._drawing.append(draw)

    def bars(
        self, boxes: Sequence[tuple[float, float, float, float]], lamp: Lamp, *, width_pt: float = 0.5
    ) -> None:
        """Bars (left, right, top, height of the row) as a lamp is drawn, centred in their rows."""
        self.polygons(
            [
                box_outline(left, right, top + height * (1 - lamp.height) / 2, height * lamp.height)
                for left, right, top, height in boxes
            ],
            lamp.fill,
            edge=lamp.edge,
            width_pt=width_pt if lamp.height > 0.2 else 0.0,
            hatch=lamp.hatch,
        )

    def lines(
        self,
        paths: Sequence[Sequence[Point]],
        colour: str = INK,
        width_pt: float = 0.6,
        *,
        dashes: Sequence[float] | None = None,
        alpha: float = 1.0,
        within: Box | None = None,
    ) -> None:
        """Open lines of one look; `dashes` are lengths in points, on and off by turns."""
        pattern: Any = "solid" if dashes is None else (0, [d / width_pt for d in dashes])

        def draw(axes: Axes, layer: float) -> None:
            from matplotlib.collections import LineCollection

            strokes = LineCollection(
                [list(path) for path in paths],
                colors=colour,
                linewidths=width_pt,
                linestyles=[pattern],
                capstyle="butt",
                joinstyle="round",
                alpha=alpha if alpha < 1 else None,
                zorder=layer,
            )
            axes.add_collection(strokes, autolim=False)
            _clip(strokes, axes, within)

        if paths:
            self._drawing.append(draw)

    def save(self, path: Path) -> Path:
        """Write the sheet whole or not at all, in the format of the file's suffix.

        The same drawing gives the same bytes.

        Raises
        ------
        InputError
            Where the suffix is no format that can be drawn, or the file can't be written.
        """
        return save_figure(self.width_in, self.height_in, self._draw, path)

    def svg(self) -> bytes:
        """The sheet as an SVG picture; the same drawing gives the same bytes."""
        return _figure(self.width_in, self.height_in, self._draw, "svg")

    def _draw(self, figure: Figure) -> None:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, self.width_in)
        axes.set_ylim(self.height_in, 0)
        axes.set_axis_off()
        for k, draw in enumerate(self._drawing):
            draw(axes, 1 + k / 1000)


def save_figure(width_in: float, height_in: float, draw: Callable[[Figure], None], path: Path) -> Path:
    """Write what `draw` puts on a figure, whole or not at all, in the format of the file's suffix.

    Raises
    ------
    InputError
        Where the suffix is no format that can be drawn, or the file can't be written.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(f"{path}: diagrams are drawn as {', '.join(FORMATS)}; name the file so")
    write_whole(path, _figure(width_in, height_in, draw, kind))
    return path


def _figure(width_in: float, height_in: float, draw: Callable[[Figure], None], kind: str) -> bytes:
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = BytesIO()
    with style.context(["default", _STYLE]), _quiet_about_glyphs():
        figure = Figure(figsize=(width_in, height_in), facecolor=PAPER)
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(page, format=kind, dpi=PNG_DPI, metadata=_METADATA[kind])
        # axes and artists point at each other: without this, figures pile up until garbage is collected
        figure.clear()
    return page.getvalue()


def _clip(artist: Artist, axes: Axes, within: Box | None) -> None:
    if within is not None:
        from matplotlib.patches import Rectangle

        left, right, top, bottom = within
        artist.set_clip_path(Rectangle((left, top), right - left, bottom - top, transform=axes.transData))


def box_outline(left: float, right: float, top: float, height: float) -> tuple[Point, ...]:
    """Corners of a rectangle."""
    return ((left, top), (right, top), (right, top + height), (left, top + height))
