"""Draw Matplotlib charts as SVG that takes its colours and font from the page around it.

Each colour here is replaced by a variable of the page's style sheet, so that one plot serves light and dark mode.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, WARN, PAPER, SOFT, SECOND = (f"#0{n}0{n}0{n}" for n in range(1, 9))
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    WARN: "var(--warn)",
    PAPER: "var(--card)",
    SOFT: "var(--soft)",
    SECOND: "var(--second)",
}
STYLE = {
    "svg.fonttype": "none",  # text, in the page's own font
    "svg.hashsalt": "report",  # equal plots have equal bytes
    "text.parse_math": False,  # a class may be called "$5"
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}


@contextmanager
def drawing(size: tuple[float, float]) -> "Iterator[tuple[Figure, Axes]]":
    """Yield a figure of ``size`` inches and its axes, in ``STYLE``, which holds until the block ends."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots()


def svg(figure: "Figure", name: str) -> str:
    """Return ``figure`` as an SVG element, its ids prefixed by ``name`` so that they are unique on the page."""
    buffer = StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser's own fonts draw the letters
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    slug = re.sub(r"\W+", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{slug}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 aria-hidden="true" focusable="false"', text)
    return re.sub("#0[1-8]0[1-8]0[1-8]", lambda found: VARIABLES.get(found.group(), found.group()), text)
