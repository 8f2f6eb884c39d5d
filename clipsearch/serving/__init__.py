"""What both services share to serve: errors, settings, health and the life of a process."""
