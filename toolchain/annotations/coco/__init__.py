"""COCO: JSON with boxes, polygons, masks and keypoints."""
