"""Where the frames of a video are: images named by their numbers, images in their order, or the video itself."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.annotations.cvat_meta import Task
from toolchain.annotations.files import first_inside, tidy
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_ENDINGS, files_in, files_under

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
FRAME_ENDINGS = (".PNG", ".png", ".jpg", ".JPG", ".jpeg")  # CVAT's first


def named(places: Sequence[Path], name: str) -> Path | None:
    """Return the file ``name``, which for a frame of a video is written without its ending."""
    return next((found for end in ("", *FRAME_ENDINGS) if (found := first_inside(list(places), f"{name}{end}"))), None)


class Videos:
    """Frames of videos that were written to files, so that reading annotations again does not decode them again."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="frames-")  # goes with this object
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
    is_video: bool  # the files were taken out of a video, and are there no longer than that

    @classmethod
    def of(cls, task: Task, places: Sequence[Path], numbers: Sequence[int], videos: Videos) -> "Frames":
        """Return the frames ``numbers`` of ``task`` in the folders ``places``."""
        files = _numbered(places, numbers) or _in_order(places, numbers)
        video = None if files else _video_of(task, places)
        return cls(videos.frames(video, numbers), True) if video else cls(files, False)


def extract(video: Path, numbers: Sequence[int], folder: Path) -> dict[int, Path]:
    """Write the frames ``numbers`` of ``video``, from 0, to ``folder`` as PNG, and return their files.

    Raises:
        DataError: the video cannot be read.
    """
    import cv2

    wanted, found = set(numbers), dict[int, Path]()
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f"{video} cannot be read as a video; export the frames as images")
        for number in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                break
            if number in wanted:
                _, pixels = capture.retrieve()
                found[number] = folder / f"frame_{number:06d}.png"
                cv2.imwrite(str(found[number]), pixels)
    finally:
        capture.release()
    return found


def _numbered(places: Sequence[Path], numbers: Sequence[int]) -> dict[int, Path]:
    """Return the images named frame_000005, as CVAT exports them, or whose names end with their number."""
    exact = {number: file for number in numbers if (file := named(places, f"frame_{number:06d}"))}
    if exact:
        return exact
    for folder in places:
        found: dict[int, list[Path]] = {}
        for path in files_in(folder, *IMAGE_ENDINGS):
            if digits := re.search(r"(\d{1,18})$", path.stem):
                found.setdefault(int(digits[1]), []).append(path)
        alone = {number: found[number][0] for number in numbers if len(found.get(number, ())) == 1}
        if alone:
            return alone
    return {}


def _in_order(places: Sequence[Path], numbers: Sequence[int]) -> dict[int, Path]:
    """Return the images of the first folder that has as many as there are frames, in the order of their names."""
    for folder in places:
        files = files_in(folder, *IMAGE_ENDINGS)
        if files and len(files) == len(numbers):
            return dict(zip(sorted(numbers), files, strict=True))
    return {}


def _video_of(task: Task, places: Sequence[Path]) -> Path | None:
    """Return the task's video: the one that it names, else the only one that there is."""
    if task.source and tidy(task.source) and (found := first_inside(list(places), Path(tidy(task.source)).name)):
        return found
    videos = {path for folder in places if folder.is_dir() for path in files_under(folder, *VIDEO_ENDINGS)}
    return videos.pop() if len(videos) == 1 else None
