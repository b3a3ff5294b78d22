"""HDF5 files parsed in a child process, within limits."""
