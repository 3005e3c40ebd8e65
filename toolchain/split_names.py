"""Names of splits: recognize train, validation and test in the names of folders, lists and fields.

The words are those of Hugging Face's ``datasets`` (SPLIT_KEYWORDS in its data_files), and some more.
"""

import re

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainval"), TRAIN),  # VOC's trainval: both can be trained on
    **dict.fromkeys(("validation", "valid", "val", "validate", "validating", "dev", "devel", "minival"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "holdout"), TEST),
}
FILLER_WORDS = (  # that do not change which split a name means: train_images, test-set
    *("set", "sets", "split", "splits", "data", "dataset", "datasets", "file", "files", "list", "lists", "part"),
    *("image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "photo", "photos", "frame", "frames"),
    *("sample", "samples", "label", "labels", "annotation", "annotations", "instance", "instances", "person"),
    *("keypoints", "obj", "coco", "voc", "yolo", "xml", "xmls", "json", "txt"),
)
SUFFIXES = ("dataset", "images", "data", "set")  # written without a separator, as in trainset
WORD = re.compile(r"[^\W\d_]+")


def split_of(name: str) -> str | None:
    """Return the split that ``name`` stands for: "train", "validation" or "test"; None for other names.

    Case, numbers and words such as "images" or "set" are ignored: train2017, TestImages, training_set, val-1.
    """
    words = _words(name)
    return _split_of_words(words) if all(word in SPLIT_WORDS or word in FILLER_WORDS for word in words) else None


def split_in(name: str) -> str | None:
    """Return the split of any word in ``name``, as in raccoon_train or bdd100k-labels-val; None without such a word."""
    return _split_of_words(_words(name))


def without_split(name: str) -> str:
    """Return the words of ``name`` without names of splits and filler words."""
    return " ".join(word for word in _words(name) if word not in SPLIT_WORDS and word not in FILLER_WORDS)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # trainImages
    return [_without_suffix(word) for word in WORD.findall(spaced.casefold())]


def _without_suffix(word: str) -> str:
    return next((word.removesuffix(end) for end in SUFFIXES if word.removesuffix(end) in SPLIT_WORDS), word)


def _split_of_words(words: list[str]) -> str | None:
    """Return the split of ``words``; of several it is test, which must not be trained on, else train (train_val)."""
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return next((split for split in (TEST, TRAIN, VALIDATION) if split in found), None)
