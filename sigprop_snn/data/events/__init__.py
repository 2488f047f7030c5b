"""Recordings of events: their files, the checks that they pass, and their frames."""
