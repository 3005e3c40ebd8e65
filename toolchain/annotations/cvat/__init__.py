"""CVAT: XML of "CVAT for images 1.1" and "CVAT for video 1.1"."""
