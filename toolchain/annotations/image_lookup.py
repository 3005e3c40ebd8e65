"""Where the image of an annotation is: near its file, in the folders that tools put images in, or alone of its name."""

import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath

from toolchain.annotations.files import first_inside
from toolchain.image_files import IMAGE_ENDINGS, child, files_under, name_key
from toolchain.split_names import split_of

FOLDERS = ("images", "JPEGImages", "image", "imgs", "img", "pictures", "photos", "data")  # names of folders of images


class ImageLookup:
    """Finds images below ``source``, and below ``apart`` where they are apart from their annotations."""

    def __init__(self, source: Path, apart: Path | None = None) -> None:
        self.root = source if source.is_dir() else source.parent
        self.apart = apart
        self._near: dict[Path, list[Path]] = {}

    def find(self, annotation: Path, *names: str) -> Path | None:
        """Return the image that the file ``annotation`` calls by one of ``names``, of which the first found counts.

        A name is a path below one of the folders, or from the annotation's own folder ("../images/a.jpg"), where it
        must not leave the source.
        """
        near = self._folders(annotation.parent)
        for name in names:
            if found := first_inside(near, name) or self._relative(annotation.parent, name):
                return found
        alone = (self._alone(annotation, name) for name in names)
        return next((found for found in alone if found), None)

    def find_stem(self, annotation: Path, *stems: str) -> Path | None:
        """Return the image near ``annotation`` that has one of ``stems`` and any ending."""
        near = self._folders(annotation.parent)
        for stem in stems:
            found = {path.parent: path for path in self._by_stem.get(name_key(stem), [])}
            if folder := next((folder for folder in near if folder in found), None):
                return found[folder]
        return None

    def _folders(self, folder: Path) -> list[Path]:
        """Return the folders where images of annotations in ``folder`` can be, the likely ones first."""
        if folder not in self._near:
            inner = _below(self.root, folder)
            found = [*([self.apart / inner, self.apart] if self.apart else []), folder]
            for up in [folder, *folder.parents]:
                named = [path for name in FOLDERS if (path := child(up, name)) and path.is_dir()]
                rest = Path(*_below(up, folder).parts[1:])  # annotations/train has its images in images/train
                found += [path for image_folder in named for path in (image_folder / rest, image_folder)]
                if up == self.root:
                    break
            self._near[folder] = list(dict.fromkeys([*found, self.root]))
        return self._near[folder]

    def _relative(self, folder: Path, name: str) -> Path | None:
        """Return the file at ``name`` from ``folder`` if it is in the source or among the images that are apart."""
        if ".." not in PurePosixPath(name.replace("\\", "/")).parts:
            return None
        path = os.path.normpath(folder / name.replace("\\", "/"))
        tops = [top for top in (self.root, self.apart) if top]
        inner = [os.path.relpath(path, top) for top in tops]
        return next((f for t, i in zip(tops, inner, strict=True) if (f := first_inside([t], i))), None)

    def _alone(self, annotation: Path, name: str) -> Path | None:
        """Return the only image of this name anywhere, unless its folders speak of another split."""
        found = self._by_name.get(name_key(PurePosixPath(name.replace("\\", "/")).name), [])
        split = _split(_below(self.root, annotation.parent))
        return found[0] if len(found) == 1 and _split(_below(self.root, found[0].parent)) in (None, split) else None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        names: dict[str, list[Path]] = defaultdict(list)
        for path in self.images:
            names[name_key(path.name)].append(path)
        return names

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        stems: dict[str, list[Path]] = defaultdict(list)
        for path in self.images:
            stems[name_key(path.stem)].append(path)
        return stems

    @cached_property
    def images(self) -> list[Path]:
        """All images in the source and among those that are apart."""
        return list(
            dict.fromkeys(p for top in (self.root, self.apart) if top for p in files_under(top, *IMAGE_ENDINGS))
        )


def _below(top: Path, folder: Path) -> Path:
    return folder.relative_to(top) if folder.is_relative_to(top) else Path()


def _split(folder: Path) -> str | None:
    return next((split for part in folder.parts if (split := split_of(part))), None)
