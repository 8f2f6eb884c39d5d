"""The two services under fire: processes of their own, a few collections, and a look at their health."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch import Client, ClipSearchError, Point
from clipsearch.client.inputs import IndexType
from tests.fuzz.messages import ALIAS, COLLECTION, IDS, READY, READY_DIMENSION
from tests.fuzz.rpcs import ENCODER, SEARCH
from tests.processes import SMALL_ENCODER, ServiceProcess

# Memory that inputs may take, MiB, for 1.5 GiB in all.
ENCODER_BUDGET = {"ENCODER_DECODE_MEMORY_MB": "512", "ENCODER_REQUEST_MEMORY_MB": "160"}
SEARCH_BUDGET = {"SEARCH_REQUEST_MEMORY_MB": "160"}
_HEALTH_GIVES_UP_S = 60.0
_OURS = (COLLECTION, READY)
_INDEXES: dict[str, IndexType] = {name: name for name in get_args(IndexType)}


class Failed(Exception):
    """A service has died, hangs or has lost what it must keep: the run ends."""


class Stage:
    """Starts an encoder on `bundle` and a search service on an empty directory; a context manager."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder = folder
        self._bundle = bundle
        self._stack = ExitStack()
        self.processes: dict[str, ServiceProcess] = {}
        self.addresses: dict[str, str] = {}
        self.rss_mb: dict[str, list[float]] = {ENCODER: [], SEARCH: []}
        self.peak_mb: dict[str, float] = {}

    def __enter__(self) -> Self:
        with self._stack:
            settings = {"ENCODER_MODEL": str(self._bundle), **SMALL_ENCODER, **ENCODER_BUDGET}
            encoder = ServiceProcess("encoder", self._folder, **settings)
            self.processes[ENCODER] = self._stack.enter_context(encoder)
            search = ServiceProcess(
                "search",
                self._folder,
                SEARCH_ENCODER=encoder.address,
                SEARCH_DATA_DIR=str(self._folder / "data"),
                **SEARCH_BUDGET,
            )
            self.processes[SEARCH] = self._stack.enter_context(search)
            self.addresses = {name: process.address for name, process in self.processes.items()}
            self._client = self._stack.enter_context(Client(search.address))
            self.tidy()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tidy(self) -> None:
        """Puts the collections back that the calls expect, and removes those that calls have made."""
        there = {collection.name for collection in self._client.list_collections()}
        for name in there - set(_OURS):
            self._client.delete_collection(name)
        for name in set(_OURS) - there:
            with suppress(ClipSearchError):  # an alias may have taken the name
                self._client.update_alias(name, None)
        if COLLECTION not in there:
            self._client.create_collection(COLLECTION, payload_indexes=_INDEXES)
        if self._client.count(COLLECTION) < len(IDS):
            self._client.upsert(COLLECTION, [Point(id, text=f"a {id}", payload=_payload(id)) for id in IDS])
        if READY not in there:
            self._client.create_collection(READY, dimension=READY_DIMENSION, fingerprint="ready")
            axes = np.eye(READY_DIMENSION, dtype=np.float32)
            self._client.upsert(READY, [Point(id, image_vector=axes[0]) for id in IDS])
        try:
            self._client.update_alias(ALIAS, COLLECTION)
        except ClipSearchError as error:
            raise Failed(f"the alias cannot be set: {error}") from None

    def check(self) -> None:
        """Raises Failed unless both processes live, answer health, and are SERVING."""
        for name, process in self.processes.items():
            if not process.alive():
                raise Failed(f"the {name} service has ended:\n{process.log_tail()}")
            self.rss_mb[name].append(round(process.rss_mb(), 1))
            self.peak_mb[name] = round(process.peak_rss_mb(), 1)
            with grpc.insecure_channel(process.address) as channel:
                try:
                    answer = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
                        health_pb2.HealthCheckRequest(), timeout=_HEALTH_GIVES_UP_S, wait_for_ready=True
                    )
                except grpc.RpcError as error:
                    raise Failed(f"the {name} service's health: {error}\n{process.log_tail()}") from None
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise Failed(f"the {name} service is not SERVING:\n{process.log_tail()}")

    def faults_logged(self) -> list[str]:
        """Lines of the logs that tell of what nobody expected."""
        signs = (
            "unexpected error",
            "Traceback",
            "Segmentation",
            "panicked",
            "never retrieved",
            "never awaited",
        )
        return [
            f"{name}: {line[:2000]}"
            for name, process in self.processes.items()
            for line in process.text().splitlines()
            if any(sign in line for sign in signs)
        ]


def _payload(id: str) -> dict[str, object]:
    number = int(id[1:])
    return {
        "keyword": f"k{number % 3}",
        "integer": number,
        "float": number / 3,
        "bool": number % 2 == 0,
        "datetime": f"2024-01-{1 + number % 28:02}T00:00:00Z",
        "text": f"words number {number}",
        "plain": None,
        "nested": {"list": [{"x": number}, {"x": "y"}]},
    }
