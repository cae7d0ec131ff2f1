"""`glyphq jobs`, `status`, `wait`, `review`, `cancel` and `delete`: what one does with jobs that are there."""

import webbrowser
from itertools import islice
from typing import Annotated
from urllib.parse import quote

import typer

from glyphq.cli.options import AsJson, JobId, Key, Server, client_of, creation_time
from glyphq.cli.waiting import saying_where_it_is_left, watch
from glyphq.cli.words import exit_code, print_job, print_json, say
from glyphq.jobs import JobState

_MOST_JOBS = 1_000_000


def jobs(
    context: typer.Context,
    state: Annotated[JobState | None, typer.Option("--state", help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=_MOST_JOBS, help="At most this many.")] = 20,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first, a line each.

    Example: glyphq jobs --state running
    """
    with client_of(context, server, key) as client:
        listed = list(islice(client.jobs(state, page_size=min(limit, 100)), limit))
    if as_json:
        print_json([job.raw for job in listed])
        return
    for job in listed:
        rows = f"{job.counts.done - job.counts.cancelled:,}/{job.counts.total:,}"
        typer.echo(f"{job.id}  {creation_time(job) or '-'}  {job.state:<9}  {rows:>15}  {job.name or ''}".rstrip())


def status(context: typer.Context, job: JobId, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say how far a job is.

    Example: glyphq status 0199f0a0-0000-7000-8000-000000000001
    """
    with client_of(context, server, key) as client:
        print_job(client.status(job), as_json)


def wait(
    context: typer.Context,
    job: JobId,
    server: Server = None,
    key: Key = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up after this long.", show_default="never"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Return when a job has ended; exit 3 if the time runs out first.

    Example: glyphq wait 0199f0a0-0000-7000-8000-000000000001 --timeout 60
    """
    with client_of(context, server, key) as client, saying_where_it_is_left(job):
        ended = watch(client, job, timeout)
    print_job(ended, as_json)
    raise typer.Exit(exit_code(ended))


def review(
    context: typer.Context,
    job: JobId,
    server: Server = None,
    key: Key = None,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON, and open nothing.")] = False,
) -> None:
    """Open the page where a job's rows are looked at and corrected, and print its address.

    The address holds the key, if there is one: it is for nobody else.

    Example: glyphq review 0199f0a0-0000-7000-8000-000000000001
    """
    with client_of(context, server, key) as client:
        place = f"/jobs/{quote(client.status(job).id)}/look"
        address = f"{client.server}/#{f'key={quote(key)}&at=' if key else ''}{place}"
    print_json({"url": address}) if as_json else typer.echo(address)
    if open_it and not as_json and not webbrowser.open(address):
        say("There is no browser here; the address can be opened in any.")


def cancel(context: typer.Context, job: JobId, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """Stop a job and keep the rows it has.

    Example: glyphq cancel 0199f0a0-0000-7000-8000-000000000001
    """
    with client_of(context, server, key) as client:
        print_job(client.cancel(job), as_json)


def delete(
    context: typer.Context,
    job: JobId,
    server: Server = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the id of what was erased as JSON.")] = False,
) -> None:
    """Erase a job with its scans and results, running or not.

    Example: glyphq delete 0199f0a0-0000-7000-8000-000000000001
    """
    with client_of(context, server, key) as client:
        client.delete(job)
    if as_json:
        print_json({"id": job, "deleted": True})
