"""What both services share to serve: errors, settings, health and the life of a process.

A call comes by calls.py (headers: who, may it, is there room), receiving/ (its request, within bounds of
memory), the service's own handler, and back through errors.py. lifecycle.py puts the server together.
"""
