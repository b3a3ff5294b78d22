"""Runs integer graphs on the processor at hand, exactly: whole test sets instead of a handful."""
