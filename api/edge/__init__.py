"""What stands between a connection and a route: who may connect, how a request comes, who asks, and how much."""
