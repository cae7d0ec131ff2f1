"""glyphq: hand in a zip of scanned handwritten characters, follow the job, fetch a CSV of what they say."""

__version__ = "0.1.0"
