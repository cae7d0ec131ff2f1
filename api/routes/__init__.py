"""The routes: each validates, calls one function, shapes the answer."""
