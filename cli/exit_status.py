"""Exit statuses of ``toolchain``, as docs/start/command-line.md lists them."""

SUCCESS = 0
FAILURE = 1  # a step failed, or a service did
USAGE_ERROR = 2  # an option, a parameter or a setting of the environment is not valid
REJECTED = 3  # the gate or a trial rejected a version, no version was promoted, or an API breaks its callers
DIFFERENT = 4  # ``schedule diff`` found a difference
INTERRUPTED = 130  # as a shell reports SIGINT: 128 + 2
BROKEN_PIPE = 141  # as a shell reports SIGPIPE: 128 + 13
