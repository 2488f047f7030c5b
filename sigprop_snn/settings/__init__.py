"""The settings of runs and comparisons, and the files that hold them."""
