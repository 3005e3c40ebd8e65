"""Print a model's ledger: its promotions, trials, approvals and rollbacks."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.output.machine import print_json
from cli.output.summary import print_table
from cli.serving.models import aliases_of, open_model_registry
from cli.settings import Settings
from toolchain.artifacts.digest import short_digest
from toolchain.errors import ArtifactError
from toolchain.progress import printable

if TYPE_CHECKING:
    from rich.table import Table

    from toolchain.lifecycle.ledger import Ledger


def print_ledger(model: str, settings: Settings, as_json: bool) -> None:
    """Print every entry of the ledger of ``model``, oldest first.

    Raises:
        ArtifactError: an entry is damaged; all that is readable was printed.
        ConfigError: there is no such model.
        ServiceError: MLflow does not respond, or denies access.
    """
    from toolchain.lifecycle import ledger

    tracker = open_model_registry(model, settings)
    aliases = aliases_of(tracker, model)
    found, fault = ledger.inspect(tracker, model)
    if as_json:
        print_json([line.as_dict for line in found.lines])
    elif found.lines:
        print_table(_table(found))
    if fault:
        raise ArtifactError(fault)
    if not as_json:
        _print_notes(found, aliases)


def _print_notes(found: "Ledger", aliases: dict[str, str]) -> None:
    """Print that nothing was promoted yet, or that the alias and the ledger differ."""
    from toolchain.lifecycle.registry import CHAMPION

    if not found.lines:
        print(f"no version of {found.model} was promoted yet")
        return
    champion = aliases.get(CHAMPION, "none")
    if found.serving and found.serving.version != champion:
        print(
            f"the alias {CHAMPION} points at version {champion}, but the ledger at {found.serving.version}; "
            f"to repair it: toolchain promote {found.model} --version {found.serving.version}"
        )


def _table(found: "Ledger") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from toolchain.lifecycle.ledger_entries import DAMAGED

    table = Table(box=None, pad_edge=False)
    for name in ("", "when (UTC)", "user", "what", "version", "variant", "digest", "verdict", "reason"):
        folds = name in ("variant", "verdict", "reason")
        table.add_column(name, no_wrap=not folds, overflow="fold", min_width=12 if folds else None)
    for line in found.lines:
        entry = line.entry
        at = (
            datetime.fromtimestamp(entry.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            if entry.created_at
            else ""
        )
        overridden = [f"forced, although {entry.overridden}"] if entry.overridden else []
        void = [] if line.valid or entry.action == DAMAGED else ["void: a concurrent entry came first"]
        notes = "; ".join(filter(None, [*void, entry.reason, *overridden]))
        share = f" {entry.percent:g} %" if entry.percent else ""
        what = (str(line.number), at, entry.user, f"{entry.action}{share}", entry.version, entry.variant)
        verdict = entry.verdict.partition(" (")[0]  # without its numbers
        row = (*what, short_digest(entry.digest), verdict, notes)
        table.add_row(*(escape(printable(cell)) for cell in row))  # a reason may contain Rich's markup
    return table
