"""Find the frames of a video: images named by their numbers, images in order, or the video file itself."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.annotations.cvat.meta import Task
from toolchain.annotations.files import find_in_folders, safe_name
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_SUFFIXES, files_in, files_under

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
FRAME_SUFFIXES = (".PNG", ".png", ".jpg", ".JPG", ".jpeg")  # CVAT's first


def find_frame(folders: Sequence[Path], name: str) -> Path | None:
    """Return the file ``name``, which has no suffix if it is a frame of a video."""
    found = (find_in_folders(list(folders), f"{name}{suffix}") for suffix in ("", *FRAME_SUFFIXES))
    return next((file for file in found if file), None)


class Videos:
    """Frames that were extracted from videos, so that reading annotations again does not decode them again."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="frames-")  # deleted with this object
        self._frames: dict[Path, dict[int, Path]] = {}

    def frames(self, video: Path, numbers: Sequence[int]) -> dict[int, Path]:
        """Return the files of the frames ``numbers`` of ``video``, from 0."""
        if video not in self._frames:
            folder = Path(self._folder.name) / str(len(self._frames))
            folder.mkdir()
            self._frames[video] = extract(video, numbers, folder)
        return self._frames[video]


@dataclass(frozen=True)
class Frames:
    """The files of one task's frames."""

    files: dict[int, Path]
    is_video: bool  # the files were extracted from a video, and are deleted with the Videos

    @classmethod
    def of(cls, task: Task, folders: Sequence[Path], numbers: Sequence[int], videos: Videos) -> "Frames":
        """Return the frames ``numbers`` of ``task`` in ``folders``."""
        files = _find_numbered(folders, numbers) or _find_ordered(folders, numbers)
        video = None if files else _find_video(task, folders)
        return cls(videos.frames(video, numbers), True) if video else cls(files, False)


def extract(video: Path, numbers: Sequence[int], folder: Path) -> dict[int, Path]:
    """Write the frames ``numbers`` of ``video``, from 0, to ``folder`` as PNG, and return their files.

    Raises:
        DataError: the video cannot be read.
    """
    import cv2

    requested, found = set(numbers), dict[int, Path]()
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f"{video} cannot be read as a video; export the frames as images")
        for number in range(max(requested, default=-1) + 1):
            if not capture.grab():
                break
            if number in requested:
                _, pixels = capture.retrieve()
                found[number] = folder / f"frame_{number:06d}.png"
                cv2.imwrite(str(found[number]), pixels)
    finally:
        capture.release()
    return found


def _find_numbered(folders: Sequence[Path], numbers: Sequence[int]) -> dict[int, Path]:
    """Return the images named frame_000005, as CVAT exports them, or whose names end with their number."""
    exact = {number: file for number in numbers if (file := find_frame(folders, f"frame_{number:06d}"))}
    if exact:
        return exact
    for folder in folders:
        found: dict[int, list[Path]] = {}
        for path in files_in(folder, *IMAGE_SUFFIXES):
            if digits := re.search(r"(\d{1,18})$", path.stem):
                found.setdefault(int(digits[1]), []).append(path)
        unique = {number: found[number][0] for number in numbers if len(found.get(number, ())) == 1}
        if unique:
            return unique
    return {}


def _find_ordered(folders: Sequence[Path], numbers: Sequence[int]) -> dict[int, Path]:
    """Return the images of the first folder with exactly as many images as frames, in the order of their names."""
    for folder in folders:
        files = files_in(folder, *IMAGE_SUFFIXES)
        if files and len(files) == len(numbers):
            return dict(zip(sorted(numbers), files, strict=True))
    return {}


def _find_video(task: Task, folders: Sequence[Path]) -> Path | None:
    """Return the task's video: the one that it names, else the only one in ``folders``."""
    name = safe_name(task.source)
    if name and (found := find_in_folders(list(folders), Path(name).name)):
        return found
    videos = {path for folder in folders if folder.is_dir() for path in files_under(folder, *VIDEO_SUFFIXES)}
    return videos.pop() if len(videos) == 1 else None
