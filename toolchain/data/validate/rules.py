"""A rule, and the rows that break it."""

from dataclasses import dataclass, field

MAX_ROWS_LISTED = 10


@dataclass
class Rule:
    """A rule that data must satisfy, and what breaks it."""

    text: str  # the requirement
    breaks: int = 0  # number of rows, classes or splits that break it
    examples: list[str] = field(default_factory=list)  # the first of them, such as "row 17 of test"
    found: str = ""  # observed values, whether or not the rule is broken
    advice: str = ""  # what to do if it is broken

    def add_breaks(self, items: list[str]) -> None:
        self.breaks += len(items)
        self.examples += items[: MAX_ROWS_LISTED - len(self.examples)]

    @property
    def is_broken(self) -> bool:
        return self.breaks > 0

    @property
    def detail(self) -> str:
        more = f" and {self.breaks - len(self.examples):,} more" if self.breaks > len(self.examples) else ""
        return ", ".join(self.examples) + more if self.examples else self.found

    @property
    def message(self) -> str:
        """What breaks the rule, and what to do, in one line."""
        return f"{self.text}: broken by {self.detail}" + (f"; {self.advice}" if self.advice else "")
