"""What folders, lists and fields that give a split are called: train, validation and test, in the usual spellings.

The words are those of Hugging Face's ``datasets`` (SPLIT_KEYWORDS in its data_files), and a few that it lacks.
"""

import re

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
WORDS = {
    **dict.fromkeys(("train", "training", "trainval"), TRAIN),  # VOC's trainval: both may be learned from
    **dict.fromkeys(("validation", "valid", "val", "validate", "validating", "dev", "devel", "minival"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "holdout"), TEST),
}
FILLERS = (  # words beside the split's that leave the meaning of a name as it is: train_images, test-set
    *("set", "sets", "split", "splits", "data", "dataset", "datasets", "file", "files", "list", "lists", "part"),
    *("image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "photo", "photos", "frame", "frames"),
    *("sample", "samples", "label", "labels", "annotation", "annotations", "instance", "instances", "person"),
    *("keypoints", "obj", "coco", "voc", "yolo", "xml", "xmls", "json", "txt"),
)
JOINED = ("dataset", "images", "data", "set")  # that are written onto the word, as in trainset
WORD = re.compile(r"[^\W\d_]+")


def split_of(name: str) -> str | None:
    """Return the split that ``name`` means as a whole: "train", "validation" or "test"; None: none of them.

    Case, years, numbers and words such as "images" or "set" do not matter: train2017, TestImages, training_set, val-1.
    """
    words = _words(name)
    return _joint(words) if all(word in WORDS or word in FILLERS for word in words) else None


def split_in(name: str) -> str | None:
    """Return the split that some word in ``name`` means, as in raccoon_train or bdd100k-labels-val; None: none does."""
    return _joint(_words(name))


def without_split(name: str) -> str:
    """Return the words of ``name`` without those that mean a split, and without fillers."""
    return " ".join(word for word in _words(name) if word not in WORDS and word not in FILLERS)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # trainImages
    return [_bare(word) for word in WORD.findall(spaced.casefold())]


def _bare(word: str) -> str:
    return next((word.removesuffix(end) for end in JOINED if word.removesuffix(end) in WORDS), word)


def _joint(words: list[str]) -> str | None:
    """Return the split of ``words``: of several the test, which must not be learned from, else train (train_val)."""
    found = {WORDS[word] for word in words if word in WORDS}
    return next((split for split in (TEST, TRAIN, VALIDATION) if split in found), None)
