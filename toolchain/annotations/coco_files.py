"""COCO's JSON files of a folder, and the split that each one's name says."""

from pathlib import Path

from toolchain.annotations.files import kind_of_json
from toolchain.annotations.model import split_of
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.image_files import child, files_in, files_under
from toolchain.split_names import split_in

INSTANCES = "instances_"  # begins the name of a file of objects
REPEATING = ("person_keypoints_", "captions_", "panoptic_", "stuff_", "image_info_")


def files_of(source: Path) -> list[Path]:
    """Return the JSON files of objects in ``source``: in "annotations", else at its top, else in any folder.

    Those that repeat the images of instances_SUBSET for another purpose, such as person_keypoints_SUBSET, are left out.
    """
    if source.is_file():
        return [source]
    inner = child(source, "annotations")
    levels = (files_in(inner, ".json") if inner else [], files_in(source, ".json"), files_under(source, ".json"))
    found = next((ours for files in levels if (ours := [path for path in files if kind_of_json(path) == "coco"])), [])
    instances = {path.with_name(path.name.removeprefix(INSTANCES)) for path in found if path.name.startswith(INSTANCES)}
    return [
        path for path in found if not any(path.with_name(path.name.removeprefix(p)) in instances for p in REPEATING)
    ]


def subset_of(path: Path) -> str | None:
    """Return the split's word in a name such as instances_train2017.json, or train/_annotations.coco.json."""
    if path.name.startswith("_annotations"):
        return path.parent.name
    word = path.stem.removeprefix(INSTANCES).removeprefix(REPEATING[0])
    if path.stem != word or split_of(word) != UNSPLIT:
        return word
    return split_in(word)
