"""Names of the standard columns of datasets, apart from ``dataset`` because model servers have no Parquet library."""

# In order: the text, the class, the row's number in its source (from 0), the image, its objects.
TEXT, LABEL, ROW, IMAGE, OBJECTS = "text", "label", "row", "image", "objects"
WIDTH, HEIGHT = "width", "height"  # int64, pixels of the file as it is stored, before its EXIF rotation
