"""Every hostile file by name: the code that makes it, and what must become of it. Knows formats; nothing of services.

A zip or a body of JSON is refused with a status and a code, or has rows; an image is one row. Of each row stands here
its reason where it is rejected, else its status.
"""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from glyphq import samples
from glyphq.index import DEFLATE
from tests.unit.forge import UTF8_FLAG, Entry, forge, honest_zip64_end, zip64_end, zip_of

MAX_ENTRIES = 2000  # of the service that all this is handed to; its other limits are the defaults
MAX32 = 0xFFFFFFFF
MIB = 1 << 20

INVALID = (422, "invalid-archive")
TOO_MUCH = (413, "limit-exceeded")
UNSUPPORTED = (415, "unsupported-input")
EMPTY = (422, "empty-input")
MALFORMED = (400, "invalid-request")
NO_PIXELS = (422, "invalid-option")


@dataclass(frozen=True)
class Case:
    """One file and its fate: `refused` with status and code, or a row each with reason or status, in order."""

    name: str
    make: Callable[[], bytes]
    rows: tuple[str, ...] = ()
    refused: tuple[int, str] | None = None
    names: tuple[str, ...] | None = None


@cache
def scan(number: int = 0) -> bytes:
    """A drawn scan that is classified, as PNG."""
    return list(samples.draw(3, seed=3))[number].png


# --- zips ---


def good(name: bytes = b"good.png", **fields: object) -> Entry:
    """An honest entry with a scan, but for these fields."""
    return Entry(**{"name": name, "content": scan(), **fields})  # type: ignore[arg-type]


def named(*names: str) -> bytes:
    return forge(*[good(name.encode(), flags=UTF8_FLAG) for name in names])


def overlapping_quotes() -> bytes:
    """As Fifield's zbsm.zip: each header stands in the data of the one before, and all share one kernel."""
    kernel = zlib.compress(bytes(MIB), wbits=-15)
    names = [b"%03d" % number for number in range(250)]
    body, offsets, data = b"", [], b""
    for name in reversed(names):
        header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, DEFLATE, 0, 0, 0, 0, 0, len(name), 0) + name
        quoted = struct.pack("<BHH", 0, len(body), len(body) ^ 0xFFFF) if body else b""
        body = header + quoted + (body or kernel)
        offsets.insert(0, len(body))
    for name, from_end in zip(names, offsets, strict=True):
        data += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, DEFLATE, 0, 0, 0, from_end - 33, MIB, 3, 0, 0, 0, 0, 0,
            len(body) - from_end,
        ) + name  # fmt: skip
    return body + data + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 250, 250, len(data), len(body), 0)


def shared_kernel() -> bytes:
    """Many entries that are one and the same bytes."""
    return forge(good(), *[good(b"%d.png" % number, offset=0) for number in range(100)])


def declaring(entries: int, each: int) -> bytes:
    """Entries whose sizes in the directory come to more than they hold."""
    return forge(*[good(b"%d" % number, method=DEFLATE, size=each) for number in range(entries)])


def declaring_beyond_64_bits() -> bytes:
    huge = Entry(size=MAX32, extra=struct.pack("<HHQ", 1, 8, 1 << 63))
    return forge(huge, huge)


def blank_bmp(side: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 0, 0, 0, 0, 256, 256)
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256))
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + palette + b"\xff" * side * side


def nested(levels: int) -> bytes:
    inner = zip_of([("a.png", scan())])
    for level in range(levels):
        inner = zip_of([(f"{level}.zip", inner)])
    return inner


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(scan())
        archive.addfile(info, io.BytesIO(scan()))
    return file.getvalue()


def zip64_lying(count: int = 0, size: int = 0, offset: int = 0) -> bytes:
    """A zip64 end record that is off by this much, and a plain one that leaves everything to it."""

    def ends(told_count: int, told_size: int, told_offset: int) -> bytes:
        told = (told_count + count, told_size + size, told_offset + offset)
        return zip64_end(told_offset + told_size, told)

    return forge(good(), before_end=ends, here=0xFFFF, total=0xFFFF, size=MAX32, offset=MAX32)


def local_says(at: int, value: bytes) -> bytes:
    """An entry whose own header says something else than the directory."""
    content = forge(good(), good(b"second.png"))
    return content[:at] + value + content[at + len(value) :]


def second_header_gone() -> bytes:
    content = forge(good(), good())
    second = content.index(b"PK\3\4", 4)
    return content[:second] + b"XX" + content[second + 2 :]


def local_name_of_another() -> bytes:
    content = bytearray(forge(good(b"honest.png")))
    content[30:40] = b"../etc/pwd"
    return bytes(content)


def unicode_path(name: bytes, path: bytes, crc: int | None = None) -> bytes:
    told = zlib.crc32(name) if crc is None else crc
    field = b"\1" + told.to_bytes(4, "little") + path
    return forge(good(name, extra=struct.pack("<HH", 0x7075, len(field)) + field))


def spanned_descriptor() -> bytes:
    """A data descriptor that says other sizes than the directory."""
    descriptor = struct.pack("<4s3I", b"PK\7\x08", 1, 2, 3)
    return forge(good(method=DEFLATE, flags=0x8, gap=descriptor), good(b"second.png"))


def endless_empty_blocks() -> bytes:
    """Sixteen megabytes of deflate that are nothing."""
    return stored_as_deflate(b"\0\0\0\xff\xff" * (16 * MIB // 5) + b"\1\0\0\xff\xff", 1)


def stored_as_deflate(data: bytes, size: int) -> bytes:
    """Data as it is in an entry that says it is deflated."""
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, DEFLATE, 0, 0, 0, len(data), size, 1, 0) + b"a"
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, DEFLATE, 0, 0, 0, len(data), size, 1, 0, 0, 0, 0, 0, 0
    ) + b"a"  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(header) + len(data), 0)
    return header + data + central + end


HOSTILE_NAMES = (
    "../../etc/passwd.png",
    "/etc/passwd.png",
    "C:\\Windows\\system32\\a.png",
    "..\\..\\a.png",
    "a\0b.png",
    "a\r\nSet-Cookie: x=1.png",
    "\x1b]0;title\x07\x1b[31mred.png",
    "\u202egnp.exe",
    "\u2066\u2067\u2069\u200f.png",
    "\u0000\u0001\u001f\u007f\u0085\u009b",
    "\u2028\u2029\ufeff\ufffe.png",
    '"quoted" and ""doubled"".png',
    "a,b;c|d.png",
    '=HYPERLINK("http://x","y")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+1",
    "-1",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\u00a0=1",
    "\u200b=1",
    "\uff1d1+1",
    "a;=1+1;b",
    "a\n=1+1",
    "'=1",
    "<script>alert(1)</script>.png",
    "{{7*7}}%s%n$(id)`id`.png",
    "NUL",
    ".",
    "..",
    "",
    "\U0001f469\u200d\U0001f4bb" + "e" + "\u0301" * 500,
)

ARCHIVES = (
    Case("entries that quote one another's headers, as in zbsm.zip", overlapping_quotes, refused=INVALID),
    Case("a hundred entries that are the same bytes", shared_kernel, refused=INVALID),
    Case("sizes that come to over 64 GiB", lambda: declaring(1500, 64 * MIB), refused=TOO_MUCH),
    Case("sizes that would wrap around 64 bits", declaring_beyond_64_bits, refused=TOO_MUCH),
    Case("a blank BMP of 64 megabytes, a thousandfold deflated",
         lambda: forge(Entry(content=blank_bmp(8000), method=DEFLATE)), rows=("blank",)),
    Case("a file larger than is read, deflated to 64 KB",
         lambda: forge(Entry(content=bytes(64 * MIB + 1), method=DEFLATE), good()), ("too_many_bytes", "classified")),
    Case("a size that lies low: it unpacks to more",
         lambda: forge(Entry(content=bytes(8 * MIB), method=DEFLATE, size=100), good()),
         ("damaged_entry", "classified")),
    Case("a size that lies high: it unpacks to less",
         lambda: forge(good(method=DEFLATE, size=64 * MIB), good()), ("damaged_entry", "classified")),
    Case("a stored entry of two sizes", lambda: forge(good(size=5), good()), ("damaged_entry", "classified")),
    Case("a checksum that lies", lambda: forge(good(crc=1), good()), ("damaged_entry", "classified")),
    Case("deflate of sixteen megabytes that is nothing", endless_empty_blocks, rows=("damaged_entry",)),
    Case("deflate that is noise", lambda: stored_as_deflate(b"\xff" * 1000, 1000), rows=("damaged_entry",)),
    Case("archives in an archive", lambda: forge(
        Entry(name=b"z.png", content=nested(5), method=DEFLATE), Entry(name=b"t", content=tar()),
        Entry(name=b"g", content=gzip.compress(scan())), good()), ("nested_archive",) * 3 + ("classified",)),
    Case("an archive in an archive in an archive, stored", lambda: forge(Entry(content=nested(50))),
         rows=("nested_archive",)),
    Case("a zip64 end record that is honest", lambda: forge(good(), before_end=honest_zip64_end), ("classified",)),
    Case("a zip64 end record that counts more", lambda: zip64_lying(count=1), refused=INVALID),
    Case("a zip64 end record that counts 2 to the 40", lambda: zip64_lying(count=1 << 40), refused=TOO_MUCH),
    Case("a zip64 end record of an endless directory", lambda: zip64_lying(size=1 << 62), refused=INVALID),
    Case("a zip64 end record that points beyond the end", lambda: zip64_lying(offset=1 << 62), refused=INVALID),
    Case("a zip64 field that is missing", lambda: forge(good(size=MAX32)), refused=INVALID),
    Case("a zip64 field that points beyond the end",
         lambda: forge(good(offset=MAX32, extra=struct.pack("<HHQ", 1, 8, (1 << 64) - 1))), refused=INVALID),
    Case("a name twice", lambda: forge(good(), good(content=b"x")), ("classified", "not_an_image"),
         names=("good.png", "good.png")),
    Case("a local header of another method", lambda: local_says(8, b"\x08\0"), ("damaged_entry", "classified")),
    Case("a local header that says encrypted", lambda: local_says(6, b"\1\0"), ("damaged_entry", "classified")),
    Case("a local header with an endless name", lambda: local_says(26, b"\xff\xff"), ("damaged_entry", "classified")),
    Case("a local header with another name", local_name_of_another, ("classified",), names=("honest.png",)),
    Case("a local header that is none", lambda: local_says(0, b"XX"), refused=UNSUPPORTED),
    Case("a local header within that is none",
         second_header_gone,
         ("classified", "damaged_entry")),
    Case("local sizes that lie", lambda: local_says(14, b"\xff" * 12), ("classified", "classified")),
    Case("a data descriptor that lies", spanned_descriptor, ("classified", "classified")),
    Case("two end records", lambda: forge(good(), comment=forge(good())), refused=INVALID),
    Case("an end record hidden in a comment", lambda: forge(good(), comment=b"PK\5\6" + bytes(40)), refused=INVALID),
    Case("data after the end", lambda: forge(good()) + b"more", refused=INVALID),
    Case("two zips one after the other", lambda: forge(good()) + forge(good()), refused=INVALID),
    Case("a zip after a PNG's end, handed in as it is", lambda: scan() + forge(good()), ("classified",)),
    Case("a zip cut short", lambda: forge(good(), good())[:-30], refused=INVALID),
    Case("an entry more than is accepted",
         lambda: forge(*[Entry(name=b"%d" % number) for number in range(MAX_ENTRIES + 1)]), refused=TOO_MUCH),
    Case("an entry more than is accepted, and an end record that counts one",
         lambda: forge(*[Entry()] * (MAX_ENTRIES + 1), here=1, total=1), refused=TOO_MUCH),
    Case("as many entries as are accepted",
         lambda: forge(*[Entry(name=b"%d" % number) for number in range(MAX_ENTRIES)]),
         ("not_an_image",) * MAX_ENTRIES),
    Case("nothing but two thousand folders",
         lambda: forge(*[Entry(name=b"%d/" % number, content=b"") for number in range(MAX_ENTRIES)]), refused=EMPTY),
    Case("hostile names", lambda: named(*HOSTILE_NAMES), ("classified",) * len(HOSTILE_NAMES), names=HOSTILE_NAMES),
    Case("bytes that are no UTF-8 in a name", lambda: forge(good(b"\xff\xc0\x80\xed\xa0\x80", flags=UTF8_FLAG)),
         ("classified",), names=("\ufffd" * 6,)),
    Case("a name of 64 KB", lambda: forge(good(b"\xb0" * 65_535), good()), ("classified",) * 2,
         names=("\u2591" * 65_535, "good.png")),
    Case("five hundred names of 64 KB",
         lambda: forge(*[Entry(name=b"%03d" % number + b"\xb0" * 65_000) for number in range(500)]),
         ("not_an_image",) * 500),
    Case("a Unicode path that climbs", lambda: unicode_path(b"a.png", b"../../\0\xff"), ("classified",),
         names=("../../\0\ufffd",)),
    Case("a Unicode path of 64 KB made for another name", lambda: unicode_path(b"a.png", b"x" * 65_000, crc=0),
         ("classified",), names=("a.png",)),
    Case("extra fields without end", lambda: forge(good(b"\xb0.png", extra=b"\0\0\0\0" * 16_000 + b"up\xff\xff")),
         ("classified",)),
    Case("links and devices", lambda: forge(*[
        Entry(content=b"/etc/passwd", made_by=3 << 8, external=mode << 16) for mode in (0o120777, 0o020600, 0o010600)
    ], good()), ("not_a_file",) * 3 + ("classified",)),
    Case("encrypted, and odd methods", lambda: forge(good(flags=1), *[good(method=m) for m in (1, 9, 12, 14, 93, 99)]),
         ("encrypted", *("unsupported_compression",) * 6)),
    Case("a folder with content", lambda: forge(good(b"a/")), ("classified",)),
    Case("a split archive", lambda: forge(good(disk=1)), refused=INVALID),
    Case("rar", lambda: b"Rar!\x1a\x07\1\0" + bytes(500), refused=UNSUPPORTED),
    Case("gzip of a zip", lambda: gzip.compress(forge(good())), refused=UNSUPPORTED),
)  # fmt: skip


# --- images ---


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 0, raw: bytes | None = None, more: bytes = b""
) -> bytes:
    """Of zeros, where `raw` (deflated) is not given; `more` are chunks before the pixels."""
    if raw is None:
        samples_a_pixel = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        raw = deflated_zeros(height * (1 + (width * depth * samples_a_pixel + 7) // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", raw) + chunk(b"IEND", b"")


def deflated_zeros(count: int) -> bytes:
    """A zlib stream of so many zeros, a thousandth as long."""
    mebibyte, rest = zlib.compressobj(9, wbits=-15), zlib.compressobj(9, wbits=-15)
    block = mebibyte.compress(bytes(MIB)) + mebibyte.flush(zlib.Z_FULL_FLUSH)
    end = rest.compress(bytes(count % MIB)) + rest.flush()
    checksum = (count % 65_521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + block * (count // MIB) + end + checksum.to_bytes(4, "big")


def saved(form: str, **options: object) -> bytes:
    """A good scan in another format."""
    file = io.BytesIO()
    Image.open(io.BytesIO(scan())).convert("L").save(file, form, **options)
    return file.getvalue()


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """A 64x64 gray TIFF of zeros whose pixels and values begin at byte 8; tags are type, count and value."""
    honest = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8),
              277: (3, 1, 1), 278: (4, 1, 64), 279: (4, 1, 4096)}  # fmt: skip
    body = data or bytes(4096)
    directory = b"".join(struct.pack("<HHII", tag, *told) for tag, told in sorted({**honest, **tags}.items()))
    count = struct.pack("<H", len({**honest, **tags}))
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + count + directory + struct.pack("<I", following)


def tiff_of_strips(count: int) -> bytes:
    """Strips of half the image each, all of them the same bytes, over and over."""
    tags = {273: (4, count, 8), 278: (4, 1, 32), 279: (4, count, 8)}
    return tiff(tags, struct.pack("<I", 8) * max(count, 1024))


def tiff_of_floats(side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.float32)).save(file, "TIFF", compression="tiff_adobe_deflate")
    return file.getvalue()


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """The last scan of a progressive JPEG again and again."""
    file = io.BytesIO()
    Image.new("L", (width, height), 200).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def with_comment(jpeg: bytes) -> bytes:
    """With an end in a comment right behind the first scan."""
    behind = jpeg.index(b"\xff\xc4", jpeg.index(b"\xff\xda"))
    return jpeg[:behind] + b"\xff\xfe\0\4\xff\xd9" + jpeg[behind:]


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xd9"


def exif_bomb(tags: int, size: int) -> bytes:
    """So many tags that all have the same `size` bytes for their value."""
    directory = b"".join(struct.pack("<HHII", 40_000 + tag, 7, size, 8) for tag in range(tags))
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", tags) + directory + bytes(4)


def jpeg_with_exif(blob: bytes) -> bytes:
    """Over as many segments as it takes: Pillow joins them."""
    parts = [b"Exif\0\0" + blob[at : at + 65_000] for at in range(0, len(blob), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part for part in parts)
    data = saved("JPEG")
    return data[:2] + segments + data[2:]


def bmp_rle(width: int, height: int, body: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 256)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + bytes(1024) + body


def webp_canvas(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended


def text_bomb(kind: bytes, prefix: bytes, count: int = 1, unpacked: int = 256 * MIB) -> bytes:
    return png(28, 28, more=chunk(kind, prefix + deflated_zeros(unpacked)) * count)


IMAGES = (
    Case("png of 50k x 50k", lambda: png(50_000, 50_000, raw=zlib.compress(bytes(100))), ("too_many_pixels",)),
    Case("png of 2 to the 31 squared", lambda: png(MAX32 >> 1, MAX32 >> 1, raw=b""), ("too_many_pixels",)),
    Case("png of no width", lambda: png(0, 5, raw=b""), ("damaged_image",)),
    Case("png one pixel wide and 100,000,000 high", lambda: png(1, 100_000_000), ("too_many_pixels",)),
    Case("png one pixel high and 100,000,000 wide, in colours", lambda: png(100_000_000, 1, colour=6),
         ("too_many_pixels",)),
    Case("png one pixel wide and as high as may be", lambda: png(1, 65_535), ("blank",)),
    Case("png one pixel high and as wide as may be", lambda: png(65_535, 1), ("blank",)),
    Case("png of as many pixels as may be", lambda: png(10_000, 10_000), ("blank",)),
    Case("png of as many pixels as may be, in colours", lambda: png(10_000, 10_000, colour=6), ("blank",)),
    Case("png of as many pixels as may be, with 16 bits", lambda: png(10_000, 10_000, colour=4, depth=16), ("blank",)),
    Case("png whose pixels go on for 32 gigabytes", lambda: png(28, 28, raw=deflated_zeros(32 << 30)), ("blank",)),
    Case("png with a profile of 256 MB in 256 KB", lambda: text_bomb(b"iCCP", b"a\0\0"), ("damaged_image",)),
    Case("png with a text of 256 MB in 256 KB", lambda: text_bomb(b"zTXt", b"a\0\0"), ("damaged_image",)),
    Case("png with an international text of 256 MB", lambda: text_bomb(b"iTXt", b"a\0\1\0\0\0"), ("damaged_image",)),
    Case("png with 500 texts of a megabyte", lambda: text_bomb(b"zTXt", b"a\0\0", 500, MIB), ("damaged_image",)),
    Case("png of a million chunks", lambda: png(28, 28, more=chunk(b"teSt", b"") * 1_000_000), ("damaged_image",)),
    Case("png with a chunk of 4 GB", lambda: png(28, 28, more=b"\xff\xff\xff\xffteSt"), ("damaged_image",)),
    Case("png with an Exif of 3,000 times a megabyte",
         lambda: png(28, 28, more=chunk(b"eXIf", exif_bomb(3000, MIB))), ("blank",)),
    Case("png that is its signature", lambda: b"\x89PNG\r\n\x1a\n", ("damaged_image",)),
    Case("jpeg of 65,500 x 65,500", lambda: jpeg_header(65_500, 65_500), ("too_many_pixels",)),
    Case("jpeg of 5,000 scans", lambda: jpeg_of_scans(2000, 2000, 5000), ("damaged_image",)),
    Case("jpeg of 5,000 scans behind the end of another in a comment",
         lambda: with_comment(jpeg_of_scans(2000, 2000, 5000)), ("damaged_image",)),
    Case("jpeg of a million segments", lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000 + saved("JPEG")[2:],
         ("damaged_image",)),
    Case("jpeg with an Exif of 3,000 times a megabyte", lambda: jpeg_with_exif(exif_bomb(3000, MIB)), ("classified",)),
    Case("jpeg that is its end", lambda: b"\xff\xd8\xff\xd9", ("damaged_image",)),
    Case("tiff one pixel wide and 100,000,000 high",
         lambda: tiff({256: (4, 1, 1), 257: (4, 1, 100_000_000), 278: (4, 1, 100_000_000)}), ("too_many_pixels",)),
    Case("tiff of as many pixels as may be, of floats", lambda: tiff_of_floats(10_000), ("blank",)),
    Case("tiff with 2,000 tags that are the same megabyte",
         lambda: tiff({40_000 + tag: (7, MIB, 8) for tag in range(2000)}, bytes(MIB)), ("blank",)),
    Case("tiff of 500,000 strips, each half of it", lambda: tiff_of_strips(500_000), ("damaged_image",)),
    Case("tiff of 8,000,000 strips", lambda: tiff_of_strips(8_000_000), ("damaged_image",)),
    Case("tiff with 4,000,000,000 strips", lambda: tiff({273: (4, MAX32, 8)}), ("damaged_image",)),
    Case("tiff whose second page is its first", lambda: tiff({}, following=8 + 4096), ("blank",)),
    Case("tiff whose directory is beyond its end", lambda: b"II*\0\xff\xff\xff\xff", ("damaged_image",)),
    Case("big tiff of endless tags", lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, MAX32 << 31) + bytes(20),
         ("damaged_image",)),
    Case("bmp of 2 to the 31 squared", lambda: bmp_rle(MAX32 >> 1, MAX32 >> 1, b""), ("too_many_pixels",)),
    Case("bmp of 10,000 lines that end at once", lambda: bmp_rle(3000, 3000, b"\1\5\0\0" * 3001), ("blank",)),
    Case("bmp that jumps about", lambda: bmp_rle(65_000, 1500, b"\0\2\xff\xff" * 10_000), ("blank",)),
    Case("webp of 16,384 x 16,384", lambda: webp_canvas(16_384, 16_384), ("too_many_pixels",)),
    Case("tiff named .png", lambda: saved("TIFF"), ("classified",)),
    Case("eps named .png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
         ("not_an_image",)),
    Case("psd named .png", lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3),
         ("not_an_image",)),
    Case("gif named .png", lambda: saved("GIF"), ("not_an_image",)),
    Case("svg named .png", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
         ("not_an_image",)),
    Case("pdf named .png", lambda: b"%PDF-1.7\n", ("not_an_image",)),
    Case("mvg named .png", lambda: b"push graphic-context\nimage over 0,0 0,0 'https://x'\n", ("not_an_image",)),
)  # fmt: skip


# --- pixel rows ---


def pixels(value: bytes) -> bytes:
    return b'{"images": [[' + value + b",0" * 783 + b"]]}"


JSON = (
    Case("lists in lists a million deep", lambda: b'{"images": ' + b"[" * 1_000_000, refused=MALFORMED),
    Case("objects in objects", lambda: b'{"images":' * 100_000, refused=MALFORMED),
    Case("ten million lists", lambda: b'{"images": [' + b"[]," * 10_000_000 + b"[]]}", refused=TOO_MUCH),
    Case("ten million objects", lambda: b'{"images": [' + b"{}," * 10_000_000 + b"{}]}", refused=TOO_MUCH),
    Case("ten million numbers", lambda: b'{"images": [[' + b"-6," * 10_000_000 + b"0]]}", refused=TOO_MUCH),
    Case("seven million objects", lambda: b'{"images": [' + b"{}," * 7_000_000 + b"{}]}", refused=NO_PIXELS),
    Case("an image more than is accepted", lambda: b'{"images": [' + b"[]," * 10_000 + b"[]]}", refused=NO_PIXELS),
    Case("a number of a million digits", lambda: pixels(b"9" * 1_000_000), refused=MALFORMED),
    Case("a number of 4,000 digits", lambda: pixels(b"9" * 4000), refused=NO_PIXELS),
    Case("a number beyond floats", lambda: pixels(b"1e999"), refused=NO_PIXELS),
    Case("a number below floats", lambda: pixels(b"1e-999"), rows=("blank",)),
    Case("no number", lambda: pixels(b"NaN"), refused=NO_PIXELS),
    Case("infinity", lambda: pixels(b"-Infinity"), refused=NO_PIXELS),
    Case("a string of 30 megabytes", lambda: pixels(b'"' + b"x" * 30_000_000 + b'"'), refused=NO_PIXELS),
    Case("a string of half a character", lambda: pixels(b'"\\ud800"'), refused=NO_PIXELS),
    Case("a key twice", lambda: b'{"images": [], ' + pixels(b"0")[1:], rows=("blank",)),
    Case("a key that is no attribute", lambda: b'{"__class__": 1, "images": []}', refused=MALFORMED),
    Case("bytes that are no UTF-8", lambda: b'{"images": "\xff\xfe"}', refused=MALFORMED),
    Case("UTF-16", lambda: json.dumps({"images": [[0] * 784]}).encode("utf-16"), rows=("blank",)),
    Case("33 megabytes of spaces", lambda: b" " * (32 * MIB + 1), refused=TOO_MUCH),
    Case("nothing", lambda: b"", refused=MALFORMED),
)  # fmt: skip
