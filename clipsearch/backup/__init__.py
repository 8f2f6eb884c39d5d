"""A collection into files and back, by the API alone: any service's backup goes into any other.

`manifest` says what a backup is, `archive` where its files lie, `parts` how points lie in them; `save`
makes one, `restore` reads it. docs/backup.md is the format's description for others.
"""
