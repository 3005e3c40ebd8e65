"""Fine-tune the same model on the same rows with this toolchain and with Transformers' Trainer, padded to 128.

Targets: at least 3 times the tokens per second without padding, and at least 2 times sooner at the best accuracy that
the Trainer reaches in its three epochs, each as the median over the seeds. Both are measured in the same trainings, by
turns: a seed of the one, then the same seed of the other. Time is that of training only, without start-up and
validation, which are equal. The Trainer has its defaults: 3 epochs, 8 rows per step, learning rate 5e-5, the model's
dropout, all weights trained; the toolchain has the defaults of its step, with 3 epochs.

Needs accelerate, for the Trainer. Usage: python benchmarks/finetune.py [ROWS] [SEEDS]
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.data import clean, ingest, split
from toolchain.frameworks.length_batches import pad
from toolchain.frameworks.torch.device import training_device
from toolchain.frameworks.torch.token_dataset import TokenDataset
from toolchain.hardware import cpu
from toolchain.train.torch_text import Config, train
from toolchain.train.torch_text.base import Base, find_base, load_base, quiet
from toolchain.train.torch_text.tokenizer import load_tokenizer, read_tokens

ROWS, SEEDS, EPOCHS = 600, 3, 3  # about 8 minutes on 2 cores with AVX2; 3 epochs are the Trainer's default
PADDED_TO = 128  # tokens; what tutorials pad to
MIN_SPEEDUP, MIN_TIME_RATIO = 3.0, 2.0  # the targets
SAMPLE = Path(__file__).parents[1] / "samples" / "movie_reviews.csv.gz"


@dataclass(frozen=True)
class Measured:
    """One training: what it had done after each epoch."""

    tokens: int  # real ones, over all epochs
    seconds: list[float]  # of training, until the end of each epoch
    accuracy: list[float]  # on the validation rows, then

    def seconds_to(self, accuracy: float) -> float:
        """Return when ``accuracy`` was reached first; infinite when it was not."""
        reached = (at for at, found in zip(self.seconds, self.accuracy, strict=True) if found >= accuracy)
        return next(reached, float("inf"))


def main(rows: int, seeds: int) -> int:
    quiet()
    base, settings = find_base(Config().base_model), Config(epochs=EPOCHS, patience=EPOCHS)
    with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
        dataset = prepare(Path(folder), rows)
        training, validation = (
            read_tokens(dataset, name, load_tokenizer(base, settings.max_tokens)) for name in ("train", "validation")
        )
        print(f"{cpu.describe().name}, {torch.get_num_threads()} threads, {len(training)} rows, {seeds} seeds")
        print(f"{'seed':>4}{'':14}{'tokens/s':>9}{'seconds':>9}  accuracy after each epoch")
        faster, sooner = zip(*compare(base, dataset.labels, training, validation, seeds, settings), strict=True)
    print(f"tokens per second without padding: {median(faster):.2f} times the Trainer's (target: {MIN_SPEEDUP})")
    print(f"at the Trainer's accuracy {median(sooner):.2f} times sooner (target: {MIN_TIME_RATIO})")
    return int(median(faster) < MIN_SPEEDUP or median(sooner) < MIN_TIME_RATIO)


def prepare(folder: Path, rows: int) -> Dataset:
    """Return the sample's reviews, cleaned, with ``rows`` to train on and about 500 to validate."""
    with redirect_stdout(StringIO()):
        ingest.run(folder / "raw", ingest.Config(source=str(SAMPLE)))
        clean.run(folder / "raw", folder / "clean", clean.Config())
        split.run(folder / "clean", folder / "split", split.Config(validation_fraction=0.05, max_train_rows=rows))
    return open_dataset(folder / "split")


def compare(
    base: Base, labels: tuple[str, ...], training: TokenDataset, validation: TokenDataset, seeds: int, settings: Config
) -> Iterator[tuple[float, float]]:
    """Yield for each seed how many times faster this toolchain is: in tokens a second, and to the same accuracy."""
    for seed in range(seeds):
        theirs = by_trainer(base, labels, training, validation, seed)
        show(seed, "Trainer", theirs)
        ours = by_toolchain(base, labels, training, validation, replace(settings, seed=seed))
        show(seed, "toolchain", ours)
        target = max(theirs.accuracy)
        faster = ours.tokens / ours.seconds[-1] / (theirs.tokens / theirs.seconds[-1])
        yield faster, theirs.seconds_to(target) / ours.seconds_to(target)


def by_toolchain(
    base: Base, labels: tuple[str, ...], training: TokenDataset, validation: TokenDataset, config: Config
) -> Measured:
    torch.manual_seed(config.seed)
    model = load_base(base, labels, config.dropout)
    with training_device() as device:
        state = train(model, training, validation, config, device)
    seconds = list(accumulate(epoch["seconds"] for epoch in state.history))
    return Measured(state.items, seconds, [epoch["validation_accuracy"] for epoch in state.history])


def by_trainer(
    base: Base, labels: tuple[str, ...], training: TokenDataset, validation: TokenDataset, seed: int
) -> Measured:
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base.path, num_labels=len(labels))
    clock = Clock(validation)
    with tempfile.TemporaryDirectory(prefix="trainer-") as folder:
        settings = TrainingArguments(
            output_dir=folder,
            seed=seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),  # it warns where there is no GPU to pin for
        )
        trainer = Trainer(model=model, args=settings, train_dataset=padded(training), callbacks=[clock])
        with redirect_stdout(StringIO()):  # the summary it prints
            trainer.train()
    return Measured(EPOCHS * int(training.lengths.sum()), clock.seconds, clock.accuracy)


class Clock(TrainerCallback):  # type: ignore[misc]  # Transformers' callbacks are untyped
    """Measures the Trainer's time and the accuracy of its model after each epoch."""

    def __init__(self, validation: TokenDataset) -> None:
        self.validation = validation
        self.seconds: list[float] = []
        self.accuracy: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, *_: Any, model: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)
        self.accuracy.append(accuracy_of(model, self.validation))
        self.began = time.perf_counter() - self.seconds[-1]


def accuracy_of(model: Any, rows: TokenDataset) -> float:
    model.eval()
    right = 0
    for batch in rows.batches(128, 0, model.device):
        with torch.inference_mode():
            right += int((model(**batch.inputs).logits.argmax(1) == batch.labels).sum())
    model.train()
    return right / len(rows)


def padded(rows: TokenDataset) -> list[dict[str, Any]]:
    """Return ``rows`` as the Trainer takes them, each padded to ``PADDED_TO`` tokens."""
    ids = [rows.tokens[start:end].tolist() for start, end in zip(rows.starts[:-1], rows.starts[1:], strict=True)]
    feeds = pad(ids, rows.pad_id, PADDED_TO)
    names = ("input_ids", "attention_mask")
    return [{**{name: feeds[name][row] for name in names}, "labels": int(rows.labels[row])} for row in range(len(rows))]


def show(seed: int, name: str, measured: Measured) -> None:
    accuracy = "  ".join(f"{value:.3f}" for value in measured.accuracy)
    rate = measured.tokens / measured.seconds[-1]
    print(f"{seed:>4}  {name:12}{rate:>9.0f}{measured.seconds[-1]:>9.1f}  {accuracy}", flush=True)


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [ROWS, SEEDS][len(arguments) :])))
