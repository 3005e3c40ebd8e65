"""Find the image of an annotation file: near the file, in the usual folders, or by a name that is unique."""

import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath

from toolchain.annotations.files import find_in_folders
from toolchain.image_files import IMAGE_SUFFIXES, child, files_under, name_key
from toolchain.split_names import split_of

FOLDERS = ("images", "JPEGImages", "image", "imgs", "img", "pictures", "photos", "data")  # usual folders of images


class ImageLookup:
    """Finds images in ``source``, and in ``images_dir`` if they are apart from their annotations."""

    def __init__(self, source: Path, images_dir: Path | None = None) -> None:
        self.root = source if source.is_dir() else source.parent
        self.images_dir = images_dir
        self._tops = [top for top in (self.root, images_dir) if top]
        self._near: dict[Path, list[Path]] = {}

    def find(self, annotation_file: Path, *names: str) -> Path | None:
        """Return the image of ``annotation_file`` by the first of ``names`` that exists.

        A name is a path in one of the folders, or relative to the annotation file ("../images/a.jpg") without leaving
        the source.
        """
        near = self._folders(annotation_file.parent)
        for name in names:
            if found := find_in_folders(near, name) or self._relative(annotation_file.parent, name):
                return found
        unique = (self._unique(annotation_file, name) for name in names)
        return next((found for found in unique if found), None)

    def find_stem(self, annotation_file: Path, *stems: str) -> Path | None:
        """Return the image near ``annotation_file`` that has one of ``stems`` and any suffix."""
        near = self._folders(annotation_file.parent)
        for stem in stems:
            found = {path.parent: path for path in self._by_stem.get(name_key(stem), [])}
            if folder := next((folder for folder in near if folder in found), None):
                return found[folder]
        return None

    def _folders(self, folder: Path) -> list[Path]:
        """Return the folders that can hold the images of annotations in ``folder``, the most likely ones first."""
        if folder not in self._near:
            inner = _relative_to(self.root, folder)
            found = [*([self.images_dir / inner, self.images_dir] if self.images_dir else []), folder]
            for up in [folder, *folder.parents]:
                named = [path for name in FOLDERS if (path := child(up, name)) and path.is_dir()]
                rest = Path(*_relative_to(up, folder).parts[1:])  # annotations/train has its images in images/train
                found += [path for image_folder in named for path in (image_folder / rest, image_folder)]
                if up == self.root:
                    break
            self._near[folder] = list(dict.fromkeys([*found, self.root]))
        return self._near[folder]

    def _relative(self, folder: Path, name: str) -> Path | None:
        """Return the file at ``name`` relative to ``folder`` if it is in the source or in ``images_dir``."""
        if ".." not in PurePosixPath(name.replace("\\", "/")).parts:
            return None
        path = os.path.normpath(folder / name.replace("\\", "/"))
        found = (find_in_folders([top], os.path.relpath(path, top)) for top in self._tops)
        return next((file for file in found if file), None)

    def _unique(self, annotation_file: Path, name: str) -> Path | None:
        """Return the only image of this name anywhere, unless its folders name another split."""
        found = self._by_name.get(name_key(PurePosixPath(name.replace("\\", "/")).name), [])
        split = _split(_relative_to(self.root, annotation_file.parent))
        is_match = len(found) == 1 and _split(_relative_to(self.root, found[0].parent)) in (None, split)
        return found[0] if is_match else None

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
        """All images in the source and in ``images_dir``."""
        return list(dict.fromkeys(path for top in self._tops for path in files_under(top, *IMAGE_SUFFIXES)))


def _relative_to(top: Path, folder: Path) -> Path:
    return folder.relative_to(top) if folder.is_relative_to(top) else Path()


def _split(folder: Path) -> str | None:
    return next((split for part in folder.parts if (split := split_of(part))), None)
