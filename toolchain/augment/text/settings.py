"""Settings and result of text augmentation."""

from dataclasses import dataclass, field

from toolchain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    copies: int = 1  # Rewritten copies of each selected row, 0..20; 0: the dataset is unchanged.
    # Fraction of the training rows to augment, 0..1; a copy costs as much training time as a row.
    fraction: float = 0.1
    synonyms: float = 0.3  # Probability to replace a word that has a good synonym; about one word in ten has one.
    insertion: float = 0.05  # Probability to insert a synonym before an adjective or adverb.
    # Probability to swap two neighboring words; below EDA's 0.1, because a copy combines four operations.
    swap: float = 0.03
    deletion: float = 0.05  # Probability to delete an article or adverb.
    protected: list[str] = field(default_factory=list)  # Words to leave unchanged, case-insensitive.
    seed: int = 0  # Random seed; the copies do not depend on the number of workers.
    workers: int = 0  # Number of processes; 0: one per CPU core, or fewer for few copies.

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 20:
            raise ConfigError(f"copies must be 0 to 20, got {self.copies}")
        for name in ("fraction", "synonyms", "insertion", "swap", "deletion"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not all(isinstance(word, str) and word.strip() for word in self.protected):
            raise ConfigError(f"protected must list words, got {self.protected!r}")
        if self.workers < 0:
            raise ConfigError(f"workers must be 0 (one per CPU core) or more, got {self.workers}")

    @property
    def changes_nothing(self) -> bool:
        """Whether these settings make no copies."""
        return not self.copies * self.fraction * (self.synonyms + self.insertion + self.swap + self.deletion)


@dataclass(frozen=True)
class Result:
    rows: int  # training rows read
    copies: int  # rows added
    unchanged: int  # copies not added: equal to their original, or to another copy of it
    in_other_splits: int  # copies not added: equal to a row of another split
    non_english: int  # selected rows without copies: the dictionary and the tagger only support English
