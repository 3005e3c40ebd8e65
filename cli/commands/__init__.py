"""The commands of ``toolchain``, one per module: its options, their types and its handler."""
