"""The Celery worker: `python -m worker`. Holds the network in memory and classifies chunks and small jobs."""
