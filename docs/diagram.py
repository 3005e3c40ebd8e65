"""Draw pipeline.svg, the diagram of the README: `python docs/diagram.py` writes it beside this file.

Text outside of boxes has a gray that is legible on white and on black, since the page around the diagram may be either.
"""

from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("pipeline.svg")
WIDTH, LEFT, TOP = 960, 74, 34  # pixels
BOX_WIDTH, BOX_HEIGHT, GAP, ROW_HEIGHT = 122, 62, 24, 122
GRAY = "#738091"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Box:
    """A step: its title, a line below it, and the modules of toolchain/ that do the work."""

    title: str
    detail: str
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Boxes from left to right, with an arrow from each to the next."""

    title: str
    color: str
    boxes: tuple[Box, ...]


ROWS = (
    Row("Data", "#0b6e99", (
        Box("Source", "files, S3, hubs"),
        Box("Ingest", "any format", ("data.ingest", "data.images", "data.annotations")),
        Box("Clean", "repair, dedupe", ("data.clean",)),
        Box("Split", "by label, group", ("data.split",)),
        Box("Validate", "check the rows", ("data.validate",)),
        Box("Augment", "training rows", ("augment.text", "augment.images")),
    )),
    Row("Model", "#5b4bb5", (
        Box("Train", "text, images", ("train.torch_text", "train.torch_image", "train.torch_detector")),
        Box("Prune", "and distill", ("optimize.prune",)),
        Box("Export", "ONNX", ("export.onnx",)),
        Box("Quantize", "INT8, OpenVINO", ("optimize.quantize",)),
        Box("Measure", "accuracy, latency", ("evaluate.accuracy", "evaluate.latency")),
        Box("Gate", "accurate, faster", ("evaluate.gate",)),
    )),
    Row("Service", "#1a7f4b", (
        Box("Register", "MLflow", ("release.register",)),
        Box("Promote", "ledger", ("release.promote",)),
        Box("Canary", "sequential tests", ("release.promote",)),
        Box("Serve", "HTTP, gRPC", ("serve",)),
        Box("Monitor", "metrics, drift", ("monitor.drift",)),
    )),
)  # fmt: skip


def left(column: int) -> int:
    return LEFT + column * (BOX_WIDTH + GAP)


def top(row: int) -> int:
    return TOP + row * ROW_HEIGHT


def text(x: float, y: float, words: str, size: int, color: str, *, anchor: str = "middle", weight: int = 400) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{color}" text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{words}</text>'


def arrow(points: list[tuple[float, float]], *, dashed: bool = False) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{GRAY}" stroke-width="1.5"{dash} marker-end="url(#head)"/>'


def draw_box(box: Box, color: str, x: int, y: int) -> list[str]:
    middle = x + BOX_WIDTH / 2
    return [
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9" fill="{color}"/>',
        text(middle, y + 27, box.title, 16, "#ffffff", weight=600),
        text(middle, y + 46, box.detail, 12, "#ffffff"),
    ]


def draw_row(row: Row, index: int) -> list[str]:
    y, parts = top(index), []
    parts.append(text(left(0), y - 10, row.title, 13, GRAY, anchor="start", weight=600))
    for column, box in enumerate(row.boxes):
        parts += draw_box(box, row.color, left(column), y)
        if column:
            edge, middle = left(column), y + BOX_HEIGHT / 2
            parts.append(arrow([(edge - GAP + 2, middle), (edge - 3, middle)]))
    return parts


def draw_turn(row: int) -> str:
    """Draw the arrow from the last box of a row to the first one of the next."""
    last = left(len(ROWS[row].boxes) - 1) + BOX_WIDTH / 2
    bottom, between = top(row) + BOX_HEIGHT, top(row) + BOX_HEIGHT + 24
    first = left(0) + BOX_WIDTH * 0.75  # beside the next row's title
    return arrow([(last, bottom + 2), (last, between), (first, between), (first, top(row + 1) - 3)])


def draw_returns() -> list[str]:
    """Draw the ways back: a rollback, and the lineage of what serves."""
    service = len(ROWS) - 1
    bottom = top(service) + BOX_HEIGHT
    serve, promote = (left(column) + BOX_WIDTH / 2 for column in (3, 1))
    margin, below = LEFT - 42, bottom + 62
    source = top(0) + BOX_HEIGHT / 2
    return [
        arrow([(serve - 20, bottom + 2), (serve - 20, bottom + 22), (promote, bottom + 22), (promote, bottom + 3)]),
        text((serve + promote) / 2, bottom + 38, "rollback, within seconds", 12, GRAY),
        arrow([(serve + 20, bottom + 2), (serve + 20, below), (margin, below), (margin, source), (LEFT - 3, source)],
              dashed=True),
        text((serve + promote) / 2, below + 17, "lineage: from the served model back to the source rows", 12, GRAY),
    ]  # fmt: skip


def draw() -> str:
    """Return the SVG."""
    height = top(len(ROWS) - 1) + BOX_HEIGHT + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="title" font-family="{FONT}">',
        '<title id="title">A pipeline: data is ingested, cleaned, split, validated and augmented; a model is trained, '
        "pruned, exported, quantized, measured and gated; it is registered, promoted, served and monitored.</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{GRAY}"/></marker></defs>',
    ]
    for index, row in enumerate(ROWS):
        parts += draw_row(row, index)
    parts += [draw_turn(row) for row in range(len(ROWS) - 1)]
    return "\n".join([*parts, *draw_returns(), "</svg>", ""])


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
