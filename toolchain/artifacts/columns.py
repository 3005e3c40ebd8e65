"""Columns: the names that datasets give to their standard columns; apart, since who serves needs no Parquet."""

# In order: the text, the class, the row's number in its source (from 0), the image, its objects.
TEXT, LABEL, ROW, IMAGE, OBJECTS = "text", "label", "row", "image", "objects"
WIDTH, HEIGHT = "width", "height"  # int64, pixels of the file as it is stored, before its EXIF rotation
