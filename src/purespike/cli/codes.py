"""Exit codes of the command line."""

OK, NOT_COMPLIANT, USAGE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130
