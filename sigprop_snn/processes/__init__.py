"""Child processes: for a function call, for a stranger's file, for the ranks of a command."""
