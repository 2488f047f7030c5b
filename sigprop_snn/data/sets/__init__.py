"""The data sets, each with the function that opens it; `data/catalogue.py` has them by name."""
