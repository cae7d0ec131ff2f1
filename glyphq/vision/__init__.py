"""From the bytes of a scan to a class: decode, normalize, predict."""
