"""The network as a portable C program: C99, whole numbers only, nothing allocated."""
