"""Write, read and delete a file in the bucket: ``helm test``."""

import os
from pathlib import Path

from toolchain.services import storage
from toolchain.services.storage import s3

uri = f"s3://{os.environ['TOOLCHAIN_BUCKET']}/tests/hello.txt"
Path("/tmp/hello.txt").write_text("hello")
storage.upload(Path("/tmp/hello.txt"), uri)
assert s3.read(uri, b"".join) == b"hello"
storage.delete([uri])
assert not storage.exists(uri)
print(f"{uri} was written, read and deleted")
