"""Engines: what runs layers, one folder for each kind of device."""
