"""What a chunk costs each part of the service here, and what that comes to on more machines."""
