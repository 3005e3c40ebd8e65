"""Settings of all tests."""

from hypothesis import settings

settings.register_profile("toolchain", deadline=None)  # a busy machine breaks no law
settings.load_profile("toolchain")
