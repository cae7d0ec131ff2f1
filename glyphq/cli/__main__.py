"""`python -m glyphq.cli` is `glyphq`."""

from glyphq.cli import main

main()
