"""Structured logs: JSON lines for machines, readable text on a terminal. No line holds what a caller sent."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from clipsearch.serving.current_call import name_call


def configure_logging(level: str, format: Literal["auto", "text", "json"], service: str) -> None:
    """Sends structlog's and the standard library's records to stderr in one format."""
    text = format == "text" or (format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        name_call,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _method, event: {**event, "service": service},
    ]
    renderer: structlog.types.Processor = (
        # Its usual tracebacks print local variables, the request among them.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,  # a line below the level then costs nothing
    )
    final: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not text:
        final.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, renderer])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("grpc._cython.cygrpc").addFilter(_without_metadata)


def _without_metadata(record: logging.LogRecord) -> bool:
    """gRPC logs metadata that is no UTF-8 as it came: a token with one byte too many, say."""
    if "Invalid encoding" in str(record.msg):
        record.msg, record.args, record.exc_info = "metadata of a call is no UTF-8", (), None
    return True
