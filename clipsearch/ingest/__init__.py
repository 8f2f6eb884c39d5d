"""Bulk loading: a folder of images, a list, or ready-made vectors into a collection.

`ingest` blocks; `Ingest` is the same for asyncio, and can be stopped. Running it again resumes a run
that was killed, and encodes nothing that is there.
"""

from clipsearch.ingest.checkpoint import CheckpointError
from clipsearch.ingest.congestion import FlowLimits
from clipsearch.ingest.folders import PictureFolder
from clipsearch.ingest.lists import ItemList
from clipsearch.ingest.progress import Failure, IngestReport, Progress
from clipsearch.ingest.run import Ingest, IngestOptions, IngestStopped, ingest
from clipsearch.ingest.source import EmptySource, Item, Source, SourceError
from clipsearch.ingest.vectors import VectorFile

__all__ = [
    "CheckpointError",
    "EmptySource",
    "Failure",
    "FlowLimits",
    "Ingest",
    "IngestOptions",
    "IngestReport",
    "IngestStopped",
    "Item",
    "ItemList",
    "PictureFolder",
    "Progress",
    "Source",
    "SourceError",
    "VectorFile",
    "ingest",
]
