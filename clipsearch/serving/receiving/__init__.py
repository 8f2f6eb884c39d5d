"""What may arrive: connections, and bytes of calls before they are parsed.

`calls` asks it once a call's headers were let in.
"""
