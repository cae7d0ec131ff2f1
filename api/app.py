"""The application factory: opens every resource in one visible place, hands them down, closes them in turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api.docs import add_docs
from api.events import Events
from api.images import Images
from api.problems import add_problem_handlers, document
from api.reconciler import Reconciler
from api.routes import router
from api.service import Service
from glyphq import __version__
from glyphq.blobs import LocalBlobs
from glyphq.broker import create_celery
from glyphq.dispatch import Dispatcher
from glyphq.ledger import Ledger
from glyphq.progress import open_progress
from glyphq.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The API for these settings. Nothing is opened before it is started."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ledger = Ledger(LocalBlobs(settings.store_path))
        progress = open_progress(settings)
        celery = create_celery(settings)
        dispatcher = Dispatcher(ledger, progress, celery)
        reconciler = Reconciler(settings, ledger, progress, dispatcher)
        events = Events(settings.redis_url)
        with Images(settings, ledger) as images:
            app.state.service = Service(settings, ledger, progress, dispatcher, reconciler, events, images)
            running = [asyncio.create_task(reconciler.run()), asyncio.create_task(events.run())]
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
    app.include_router(router)
    add_docs(app)
    add_problem_handlers(app)
    document(app)
    if settings.loopback:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", settings.host])
    return app
