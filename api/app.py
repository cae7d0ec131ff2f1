"""The application factory: opens every resource in one visible place, hands them down, closes them in turn."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from api.background.callbacks import Callbacks
from api.background.events import Events
from api.background.reconciler import Reconciler
from api.edge.authentication import Authenticator
from api.edge.quotas import Quotas
from api.metrics import Exposition
from api.problems import add_problem_handlers, document
from api.readiness import ReadinessCheck
from api.reading.images import Images
from api.reading.table_cache import TableCache
from api.routes import jobs, operations, results
from api.service import Service
from api.site.docs import add_docs
from api.site.page import add_page
from glyphq import __version__
from glyphq.blobs import open_blobs
from glyphq.broker import create_celery
from glyphq.callbacks import Deliveries
from glyphq.corrections import Corrections
from glyphq.dispatch import Dispatcher
from glyphq.ledger import Ledger
from glyphq.progress import open_progress
from glyphq.settings import Settings

_OWN_THREADS = 32


def create_app(settings: Settings) -> FastAPI:
    """The API for these settings. Nothing is opened before it is started."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Of asyncio's threads: reconciler, callbacks' looks and batchers, each in one at a time, and names that are
        # looked up, so that none of them waits for one. Requests, uploads and deliveries share Starlette's, and a store
        # that hangs holds up them alone.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_OWN_THREADS, thread_name_prefix="own"))
        current_default_thread_limiter().total_tokens += settings.max_uploads
        ledger = Ledger(open_blobs(settings.store_url))
        progress = open_progress(settings)
        celery = create_celery(settings)
        dispatcher = Dispatcher(ledger, progress, celery)
        reconciler = Reconciler(settings, ledger, progress, dispatcher)
        events = Events(settings.redis_url)
        with Images(settings, ledger) as images:
            service = Service(
                settings=settings,
                ledger=ledger,
                progress=progress,
                dispatcher=dispatcher,
                reconciler=reconciler,
                events=events,
                images=images,
                authenticator=Authenticator(settings, ledger.blobs),
                quotas=Quotas(settings, ledger),
                deliveries=Deliveries(ledger.blobs),
                corrections=Corrections(ledger.blobs),
                kept_rows=TableCache(),
                readiness=ReadinessCheck(settings, ledger, progress),
                exposition=Exposition(settings, ledger.blobs),
            )
            app.state.service = service
            callbacks = Callbacks(service)
            running = [asyncio.create_task(each.run()) for each in (reconciler, events, callbacks)]
            yield
            for task in running:
                task.cancel()
            for task in running:
                with suppress(asyncio.CancelledError):
                    await task
        celery.close()
        progress.redis.close()

    app = FastAPI(
        title="glyphq",
        version=__version__,
        summary="Hand in a zip of scanned handwritten characters, follow the job, fetch a CSV of what they say.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(jobs.router)
    app.include_router(results.router)
    app.include_router(operations.router)
    app.include_router(operations.open_router)
    add_page(app)
    add_docs(app)
    add_problem_handlers(app)
    document(app, keys_required=settings.keys_required)
    return app
