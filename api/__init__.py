"""The HTTP front end: `python -m api`. Never imports torch, cv2 or Pillow.

app.py          opens every resource and puts the application together; __main__.py serves it
edge/           what stands before a route: connections, bodies, keys, quotas, security headers, the access log
routes/         what can be asked: each route validates, calls one function, shapes the answer
service.py      what the routes call: jobs as they are now, from ledger and progress
intake/         from the bytes of a request to an accepted job
reading/        what is read of a job: rows, tables, pictures, a zip of its scans
background/     what runs beside requests: reconciler, callbacks, events
site/           the page for people, and the description of the API as a page
schemas.py      the shapes of the JSON; problems.py makes errors answers
readiness.py    what stands between the service and work
batcher.py      one call for all who ask at once
metrics.py      what Prometheus is told; health.py asks whether the API of a container answers
"""
