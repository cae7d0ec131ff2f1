"""What is handed in, as the body of a request: files, folders, bytes, arrays. Knows files and zips; nothing of HTTP."""

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from glyphq.client.steps import Body
from glyphq.errors import EmptyInput, UnsupportedInput, UploadInterrupted
from glyphq.pieces import Pieces
from glyphq.png import gray_png

_PIECE_BYTES = 1 << 18
_ZIP_MAGIC = b"PK\x03\x04", b"PK\x05\x06"
_ENTRY_BYTES = 30 + 16 + 46  # what a zip adds to a small file: header, descriptor, its place in the directory
_END_BYTES = 22
_PIXELS = 784
_ZIP, _PNG, _JSON, _UNTOLD = "application/zip", "image/png", "application/json", "application/octet-stream"


class Array(Protocol):
    """What numpy.ndarray is: numpy itself is not needed."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, index: int, /) -> Any: ...


PathLike = str | os.PathLike[str]
Scans = PathLike | bytes | Array | Sequence[PathLike]
"""What can be handed in as one job:

- a path of a zip, an image or a folder, or several of images and folders. A folder or several paths are packed on the
  way, each file once, unchanged and sorted by name, into one zip, which is nowhere kept;
- the bytes of a zip or an image;
- uint8[H, W] or uint8[N, H, W]: pictures, upright;
- uint8[N, 784]: EMNIST's pixel rows, from 0 (paper) to 255 (ink), column by column as its files have them: the
  network's own input, which is not normalized. Of an upright 28x28 picture that is picture.T.reshape(784). A service
  takes up to 10,000 of them unless it is set otherwise; any number as pictures:
  rows.reshape(-1, 28, 28).swapaxes(1, 2).
"""


def body_of(scans: Scans) -> Body:
    """Raises UnsupportedInput and EmptyInput before anything is sent, and OSError; its pieces raise UploadInterrupted
    for a file that changes meanwhile.
    """
    if isinstance(scans, bytes):
        return Body(lambda: _pieces(io.BytesIO(scans)), _UNTOLD, len(scans))
    if hasattr(scans, "shape"):
        return _body_of_array(scans)
    try:
        given = [scans] if isinstance(scans, str | os.PathLike) else list(scans)
        if any(os.fspath(path) == "" for path in given):  # as a Path it is the working folder
            raise EmptyInput("There is nothing to submit where the path is empty.")
        paths = [Path(path) for path in given]
    except TypeError:
        raise UnsupportedInput(
            "Scans are handed in as a path, several paths, bytes, or one array of uint8: numpy.stack makes one of many."
        ) from None
    if len(paths) == 1 and not paths[0].is_dir():
        size = _size(paths[0])
        return Body(lambda: _unchanged(paths[0], size), _UNTOLD, size)
    files = _files(paths)
    about = sum(entry.size + 2 * len(entry.name) + _ENTRY_BYTES for entry in files) + _END_BYTES
    return Body(lambda: _zip_of(files), _ZIP, about=about)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _unchanged(path: Path, size: int) -> Iterator[bytes]:
    """Raises UploadInterrupted once it is not as large as was announced."""
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE_BYTES)
            if os.fstat(file.fileno()).st_size != size:
                raise UploadInterrupted(f"{path.name} changed while it was sent. Submit it when it is whole.")
            if not piece:
                return
            yield piece


def _size(path: Path) -> int:
    """In bytes. Raises FileNotFoundError, and UnsupportedInput for what is no file."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise UnsupportedInput(
            f"{path.name} is no file: a pipe gives its bytes once, and they may have to be sent again. "
            "Write them to a file, and submit that."
        )
    return about.st_size


@dataclass(frozen=True)
class _Entry:
    """A file to pack. `info` and `opened` are asked when its turn comes."""

    name: str
    size: int
    info: Callable[[], zipfile.ZipInfo]
    opened: Callable[[], BinaryIO]


def _files(paths: Sequence[Path]) -> Sequence[_Entry]:
    """The files, and the files of the folders, sorted, and named from the folder they share."""
    given = [_placed(path) for path in paths]
    if not given:
        raise EmptyInput("There is nothing to submit.")
    for path in given:
        if not path.is_dir() and _size(path) and _is_zip(path):
            raise UnsupportedInput(f"{path.name} is an archive: submit it on its own, as one job.")
    root = given[0] if len(given) == 1 else Path(os.path.commonpath([path.parent for path in given]))
    files = {file for path in given for file in (_within(path) if path.is_dir() else [path])}
    named = sorted((file.relative_to(root).as_posix(), file) for file in files if file.is_file())
    if not named:
        raise EmptyInput(f"There are no files in {', '.join(path.name for path in given)}.")
    return [_Entry(name, file.stat().st_size, partial(_info, file, name), partial(_open, file)) for name, file in named]


def _placed(path: Path) -> Path:
    """Absolute, and without `..`, which no name in a zip may have; links keep their names."""
    path = path.absolute()
    if ".." not in path.parts:
        return path
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def _within(folder: Path) -> Iterator[Path]:
    """What is in a folder, and in those that it has or leads to, each once. Raises OSError for one that cannot be read:
    none of its files is left out in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen = {os.path.realpath(folder)}
    for at, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        links_first = sorted(folders, key=lambda name: not Path(at, name).is_symlink())  # a folder's own name stands
        places = {os.path.realpath(Path(at, name)): name for name in links_first}
        folders[:] = [name for place, name in places.items() if place not in seen]
        seen.update(places)
        yield from (Path(at, name) for name in names)


def _open(file: Path) -> BinaryIO:
    return file.open("rb")


def _info(file: Path, name: str) -> zipfile.ZipInfo:
    text = os.fsencode(name).decode("utf-8", "backslashreplace")  # a name may be other bytes than UTF-8
    return zipfile.ZipInfo.from_file(file, text, strict_timestamps=False)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _ZIP_MAGIC


def _zip_of(entries: Iterable[_Entry]) -> Iterator[bytes]:
    """A zip in which each entry is stored as it is, written as it is read: what is kept is its directory."""
    sink = Pieces()
    written = 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for entry in entries:
            with archive.open(entry.info(), "w") as target, entry.opened() as file:
                while piece := file.read(_PIECE_BYTES):
                    target.write(piece)
                    if sink.tell() - written >= _PIECE_BYTES:
                        written = sink.tell()
                        yield sink.take()
    yield sink.take()


def _body_of_array(array: Any) -> Body:
    shape = tuple(_view(array).shape or ())
    if len(shape) not in (2, 3) or 0 in shape:
        raise (EmptyInput if 0 in shape else UnsupportedInput)(
            f"An array of shape {shape} holds no scans. Give pictures as [height, width] or [number, height, width], "
            "or EMNIST's pixel rows as [number, 784]."
        )
    if len(shape) == 3 and shape[2] in (3, 4) and shape[1] > 4:
        raise UnsupportedInput(
            f"An array of shape {shape} is one picture in colour. Give it in gray, as [height, width]: "
            "image.convert('L') in Pillow."
        )
    if len(shape) == 2 and shape[1] == _PIXELS:
        return Body(lambda: _pixel_rows(array), _JSON)
    if len(shape) == 2:
        png = gray_png(_bytes(array), shape[1], shape[0])
        return Body(lambda: iter([png]), _PNG, len(png))
    return Body(lambda: _zip_of(_pictures(array)), _ZIP)


def _pictures(array: Any) -> Iterator[_Entry]:
    number, height, width = array.shape
    digits = len(str(number - 1))
    for each in range(number):
        name, png = f"{each:0{digits}}.png", gray_png(_bytes(array[each]), width, height)
        yield _Entry(name, len(png), partial(zipfile.ZipInfo, name), partial(io.BytesIO, png))  # with no clock in it


def _pixel_rows(array: Any) -> Iterator[bytes]:
    """The API's JSON, row by row."""
    before = '{"images":['
    for number in range(array.shape[0]):
        yield f"{before}{list(_bytes(array[number]))}".encode()
        before = ","
    yield b"]}"


def _bytes(pixels: Any) -> bytes:
    return _view(pixels).tobytes()


def _view(pixels: Any) -> memoryview:
    """Raises UnsupportedInput unless they are uint8."""
    try:
        view = memoryview(pixels)
    except (TypeError, ValueError, BufferError):
        raise UnsupportedInput(
            "Give a numpy array: of a tensor that is tensor.numpy(), of a table table.to_numpy()."
        ) from None
    if view.format != "B":
        raise UnsupportedInput(
            "The array's numbers are not uint8. Give them from 0 to 255, such as (array * 255).astype('uint8') for "
            "fractions."
        )
    return view
