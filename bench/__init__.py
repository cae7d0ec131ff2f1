"""The same work done by glyphq and by what a user would take instead, in one run: `python -m bench`."""
