"""YOLO: one text file per image, in the layouts of Ultralytics, Darknet and LabelImg."""
