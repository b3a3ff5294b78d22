"""The command line: the commands, and what people see in the terminal."""
