"""Find COCO's JSON files in a folder, and the subset in each one's name."""

from pathlib import Path

from toolchain.annotations.files import json_format
from toolchain.annotations.types import split_of
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.image_files import child, files_in, files_under
from toolchain.split_names import split_in

INSTANCES = "instances_"  # prefix of a file of objects
# Prefixes of files that repeat the images of instances_SUBSET for another task.
OTHER_TASKS = ("person_keypoints_", "captions_", "panoptic_", "stuff_", "image_info_")


def find_files(source: Path) -> list[Path]:
    """Return the JSON files of objects in ``source``: in "annotations", else at the top, else in any folder.

    Files that repeat the images of instances_SUBSET for another task, such as person_keypoints_SUBSET, are left out.
    """
    if source.is_file():
        return [source]
    inner = child(source, "annotations")
    levels = (files_in(inner, ".json") if inner else [], files_in(source, ".json"), files_under(source, ".json"))
    in_coco = ([path for path in files if json_format(path) == "coco"] for files in levels)
    found = next((paths for paths in in_coco if paths), [])
    instances = {path.with_name(path.name.removeprefix(INSTANCES)) for path in found if path.name.startswith(INSTANCES)}
    return [
        path for path in found if not any(path.with_name(path.name.removeprefix(p)) in instances for p in OTHER_TASKS)
    ]


def subset_in_name(path: Path) -> str | None:
    """Return the subset in a name such as instances_train2017.json, or train/_annotations.coco.json."""
    if path.name.startswith("_annotations"):
        return path.parent.name
    subset = path.stem.removeprefix(INSTANCES).removeprefix(OTHER_TASKS[0])
    if path.stem != subset or split_of(subset) != UNSPLIT:
        return subset
    return split_in(subset)
