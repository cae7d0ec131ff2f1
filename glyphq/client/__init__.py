"""The HTTP client of a glyphq service, blocking and async.

    from glyphq import Client

    with Client("http://127.0.0.1:8000") as client:
        rows = client.classify("scans.zip", progress=True)

        job = client.submit("more scans/", charset="digits")
        client.wait(job)
        client.download(job, "digits.parquet")

Uploads and results are streamed, and every call is tried again where that may help. `operations` and `downloads` say
what can be asked; `clients` runs it.
"""

from glyphq.client.clients import DEFAULT_URL, AsyncClient, Client
from glyphq.client.downloads import Wanted
from glyphq.client.operations import SubmitOptions
from glyphq.client.packing import Scans
from glyphq.records import Answer, Correction, Format, JobStatus, Row, Rows

__all__ = [
    "DEFAULT_URL",
    "Answer",
    "AsyncClient",
    "Client",
    "Correction",
    "Format",
    "JobStatus",
    "Row",
    "Rows",
    "Scans",
    "SubmitOptions",
    "Wanted",
]
