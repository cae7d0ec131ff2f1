"""`python -m glyphq.cli` is `glyphq`."""

from glyphq.cli import main

if __name__ == "__main__":
    main()
