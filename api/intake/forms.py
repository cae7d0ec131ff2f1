"""A multipart form of one or more files, with options as fields."""

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from glyphq.charset_rules import MAX_RULES
from glyphq.errors import EmptyInput, InvalidOption, InvalidRequest, UploadInterrupted

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks
from api.intake.uploads import Upload

_MAX_FIELD_BYTES = 4096
_MAX_FIELDS = 32
_MAX_PART_HEADERS = 8
_MAX_PART_HEADER_BYTES = 4096  # of each one
_EXTENDED_FILENAME = re.compile(rb"filename\*=(UTF-8|ISO-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE)


async def receive_form(pieces: AsyncIterator[bytes], upload: Upload, boundary: bytes | None) -> None:
    if not boundary:
        raise InvalidRequest("The multipart form names no boundary in its Content-Type.")
    form = _Form(upload)
    try:
        parser = MultipartParser(
            boundary, form.callbacks(), max_header_count=_MAX_PART_HEADERS, max_header_size=_MAX_PART_HEADER_BYTES
        )
        async for data in pieces:
            parser.write(data)
            await upload.flush()
    except FormParserError as error:
        raise InvalidRequest(f"The multipart form is malformed: {error}.") from error
    if not form.ended:
        raise UploadInterrupted("The form ended before its last boundary. Submit again.")
    upload.parts = [part for part in upload.parts if part.name or part.size]  # a browser's file input left empty
    if not upload.parts:
        raise EmptyInput(
            "The form has no file. Send each one as a part with a filename, for example: curl -F file=@scans.zip"
        )


class _Form:
    """Follows the parser through a form: files go to the upload, other fields are options."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._header = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._content = b""
        self.ended = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end_part,
            "on_end": self._on_end,
        }

    def _begin_part(self) -> None:
        self._headers = {}
        self._field = None
        self._content = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, parameters = parse_options_header(disposition)
        encoded = _EXTENDED_FILENAME.search(disposition)
        if encoded:  # RFC 5987, which the parser leaves out
            self._upload.begin(unquote(encoded[2].decode("ascii", "replace"), encoded[1].decode(), "replace"))
        elif b"filename" in parameters:
            self._upload.begin(parameters[b"filename"].decode("utf-8", "replace"))
        elif b"name" in parameters:
            self._field = parameters[b"name"].decode("utf-8", "replace")
        else:
            raise InvalidRequest("A part of the form has neither a name nor a filename.")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._upload.add(memoryview(data)[start:end])
            return
        self._content += data[start:end]
        if len(self._content) > _MAX_FIELD_BYTES:
            raise InvalidOption(
                self._field[:64], f"An option is at most {_MAX_FIELD_BYTES} bytes. Send files with a filename."
            )

    def _end_part(self) -> None:
        if self._field is not None:
            self._add_option(self._field, self._content.decode("utf-8", "replace"))

    def _add_option(self, name: str, value: str) -> None:
        options, rules = self._upload.options, self._upload.charset_rules
        if name == "charset_rules":
            if len(rules) >= MAX_RULES:
                raise InvalidOption(name, f"A form has at most {MAX_RULES} charset_rules.")
            rules.append(value)
            return
        if name in options:
            raise InvalidOption(name[:64], f"The option {name[:64]} is given more than once.")
        if len(options) >= _MAX_FIELDS:
            raise InvalidOption(name[:64], f"A form has at most {_MAX_FIELDS} options.")
        options[name] = value

    def _on_end(self) -> None:
        self.ended = True
