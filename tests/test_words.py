"""Words that were replaced by the field's standard terms do not return to the code, the chart or the docs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ = ("cli", "toolchain", "components", "pipelines", "charts", "docs", "monitoring", "images", "manifests", ".github")
SUFFIXES = {".py", ".md", ".html", ".css", ".yaml", ".yml", ".tpl", ".txt", ".sh", ".toml"}
REPLACED = {  # a pattern of words, and what to write instead
    r"told|tells?|said": "message, summary, log, report",
    r"asks|asked": "request, query",
    r"answers|answered|answering": "response, prediction, respond",
    r"who answers|what is asked": "routing, request",
    r"shel(f|ves)": "model repository",
    r"traffic\.json": "routing.json",
    r"put aside": "sampled",
    r"looks": "poll, check",
    r"pictures?": "image",
    r"figures": "metrics, numbers",
    r"things?": "item, annotation",
    r"troubles?": "problem",
    r"nobody|whoever|whomever": "rewrite the sentence",
    r"for want of|by itself|of its own": "rewrite the sentence",
    r"gives way|it wins": "selected, not selected",
    r"leftovers": "local artifacts",
    r"speaks?|spoke|overrode": "approve, override",
    r"refuse[sd]?|refusals?": "rejected, not valid, not supported",
    r"alike": "equal, matching",
    r"batch_rows": "batch_size",
    r"(heads|neurons)_kept": "heads_to_keep, neurons_to_keep",
    r"recovery_epochs": "distillation_epochs",
}
CONSTANTS = r"(MOST|LEAST|FEWEST|SECONDS)_[A-Z]+(_[A-Z]+)*"  # MAX_, MIN_, and a unit at the end
EXCEPTIONS = {  # texts that must contain a word, by file
    "toolchain/augment/text/language.py": {"picture"},  # sentences that a tagger reads
    "toolchain/augment/text/operations.py": {"nobody"},  # a negation
    "toolchain/augment/text/wordnet.py": {"picture"},  # a synonym
    "toolchain/annotations/image_lookup.py": {"pictures"},  # a usual name of folders
    "toolchain/split_names.py": {"picture", "pictures"},  # likewise
}


def files() -> list[Path]:
    """Return the files whose words are checked."""
    found = [path for folder in READ for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted([*found, ROOT / "README.md", ROOT / "Makefile"])


def replaced(text: str) -> Iterator[tuple[str, str]]:
    """Yield each replaced word in ``text``, parts of identifiers included, and what to write instead."""
    for pattern, instead in REPLACED.items():
        for match in re.finditer(rf"(?<![^\W\d_])({pattern})(?![^\W\d_])", text, re.IGNORECASE):
            yield match[1], instead
    for match in re.finditer(rf"\b_?({CONSTANTS})\b", text):
        yield match[1], "MAX_ or MIN_, and a unit at the end (TIMEOUT_S)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nothing was told.", ["told"]),
        ("def test_what_is_told_to_it(): ...", ["told"]),
        ("SECONDS_TO_START = 3", ["SECONDS_TO_START"]),
        ("_MOST_ROWS", ["MOST_ROWS"]),
        ("a task, a taskset, most_common, in seconds_per_row", []),
    ],
)
def test_replaced_words_are_found(text: str, words: list[str]):
    assert [word for word, _ in replaced(text)] == words


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_replaced_words_do_not_return(path: Path):
    name = path.relative_to(ROOT).as_posix()
    allowed = EXCEPTIONS.get(name, set())
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [
        f"{name}:{number}: write {instead} instead of {word!r}"
        for number, line in enumerate(lines, 1)
        for word, instead in replaced(line)
        if word.lower() not in allowed
    ] == []
