"""Settings and result of text augmentation."""

from dataclasses import dataclass, field

from toolchain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    copies: int = 1  # rewritten copies of each selected row, 0..20; 0: the dataset is unchanged
    fraction: float = 0.1  # of the training rows to augment, 0..1; a copy costs as much training time as a row
    synonyms: float = 0.3  # probability to replace a word that has a good synonym, as about one word in ten has
    insertion: float = 0.05  # probability to insert a synonym before an adjective or adverb
    swap: float = 0.03  # probability to swap two neighbors; below EDA's 0.1, because a copy combines four operations
    deletion: float = 0.05  # probability to delete an article or adverb
    protected: list[str] = field(default_factory=list)  # words to leave unchanged, case-insensitive
    seed: int = 0  # makes the same copies for any number of workers
    workers: int = 0  # processes; 0: one per CPU core; at most one for every TEXTS_PER_WORKER copies

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
