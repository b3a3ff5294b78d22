"""Runs in the child process: numpy, scipy and Lava only, in the syntax of Python 3.10."""
