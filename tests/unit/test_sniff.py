"""What a file is taken for."""

import pytest

from glyphq.sniff import sniff


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06" + bytes(18), "zip"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (b"BM is how this text begins", None),
        (b"BM" + bytes(12) + b"\x10\0\0\0", None),  # OS/2's short header, which Pillow does not read
        (b"\x1f\x8b\x08\0", "archive"),
        (b"7z\xbc\xaf\x27\x1c", "archive"),
        (b"Rar!\x1a\x07\x01", "archive"),
        (bytes(257) + b"ustar", "archive"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_a_file_is_told_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind
