"""The body of a request into an upload: a zip or an image as it is, a form, or JSON pixel rows."""

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from api.edge.bodies import pieces_of
from api.intake.forms import receive_form
from api.intake.pixel_rows import receive_pixels
from api.intake.uploads import Upload


async def receive(request: Request, upload: Upload) -> None:
    """Take in the whole body. Raises LimitExceeded at once when it is announced or found to be too large."""
    settings = upload.settings
    media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    is_json = media_type == b"application/json"
    limit_name = "max_json_bytes" if is_json else "max_upload_bytes"
    async with pieces_of(request, settings, limit_name, getattr(settings, limit_name)) as pieces:
        if media_type == b"multipart/form-data":
            await receive_form(pieces, upload, parameters.get(b"boundary"))
        elif is_json:
            await receive_pixels(pieces, upload)
        else:
            upload.begin("")
            async for data in pieces:
                upload.add(data)
                await upload.flush()
        await upload.flush(last=True)
