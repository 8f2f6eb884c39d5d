"""What may arrive: connections, and bytes of calls before they are parsed."""
