"""What is read of a job: its rows, some of them, the picture of one, a zip of its scans. Knows nothing of HTTP."""
