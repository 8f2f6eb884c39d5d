"""The encoders that the service knows: one, and a second while collections move to another model.

Whatever is encoded for a collection goes to the encoder whose model filled it. Which encoder runs
which model is asked once, and learnt anew from every answer: a replica may be replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from clipsearch.serving.errors import FingerprintMismatch, InvalidArgument, ServiceError, Unavailable
from search_service.encoder.client import EncoderClient, Encoding, Model
from search_service.stores.collection import CollectionSpec


class Encoders:
    """The first encoder, and the right one for a collection.

    With one encoder nothing is asked and everything goes there. A second one that is away concerns
    only what needs it: that raises Unavailable("encoder"), and the message says which.
    """

    def __init__(self, first: EncoderClient, second: EncoderClient | None = None) -> None:
        self._all = [_Known("", first)]
        if second is not None:
            self._all = [_Known("first", first), _Known("second", second)]

    async def encode_for(
        self, spec: CollectionSpec, texts: Sequence[str], images: Sequence[bytes]
    ) -> Encoding:
        """Encodes with the encoder of the collection's model. Raises FingerprintMismatch if none has it."""
        for _ in self._all:  # twice, of two: one may have got another model just now
            known = await self._of(spec)
            with known.named():
                encoding = await known.encoder.encode(texts, images)
            known.fingerprint = encoding.fingerprint
            if encoding.fingerprint == spec.fingerprint:
                return encoding
        raise FingerprintMismatch(spec.name, spec.fingerprint, encoding.fingerprint)

    async def model(self, wanted: str = "") -> Model:
        """The model of that name or fingerprint; "" = the first encoder's.

        Raises InvalidArgument naming `model` if there is none, or two of one name.
        """
        if not wanted:
            return await self._all[0].ask()
        models, away = await self._ask()
        found = [model for model in models if wanted in (model.fingerprint, model.name)]
        if len({model.fingerprint for model in found}) == 1:
            return found[0]
        if away is not None:
            raise away
        known = ", ".join(f"{model.name} ({model.fingerprint})" for model in models)
        what = "the name of two models" if found else "no model of the encoders"
        raise InvalidArgument("model", f"{wanted!r} is {what}; there are {known}", "MODEL_UNKNOWN")

    async def _of(self, spec: CollectionSpec) -> _Known:
        """The encoder whose model filled the collection; asks them if none is known to."""
        if len(self._all) == 1:
            return self._all[0]
        models: list[Model] = []
        away: ServiceError | None = None
        for asked in (False, True):
            if asked:
                models, away = await self._ask()
            for known in self._all:
                if known.fingerprint == spec.fingerprint:
                    return known
        if away is not None:
            raise away
        fingerprints = " and ".join(model.fingerprint for model in models)
        raise FingerprintMismatch(spec.name, spec.fingerprint, fingerprints)

    async def _ask(self) -> tuple[list[Model], ServiceError | None]:
        """The models of the encoders that answer, and why one of them does not."""
        answers = await asyncio.gather(*(known.ask() for known in self._all), return_exceptions=True)
        models, away = [], None
        for answer in answers:
            if isinstance(answer, Model):
                models.append(answer)
            elif isinstance(answer, ServiceError):
                away = answer
            else:
                raise answer
        return models, away


class _Known:
    """An encoder, and the fingerprint of its model when it last answered; "" = not asked yet.

    `name`: of one of several, for errors; "" = it is the only one.
    """

    def __init__(self, name: str, encoder: EncoderClient) -> None:
        self._name = name
        self.encoder = encoder
        self.fingerprint = ""

    async def ask(self) -> Model:
        """Its model."""
        with self.named():
            model = await self.encoder.model()
        self.fingerprint = model.fingerprint
        return model

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors of the block are told of this encoder."""
        try:
            yield
        except Unavailable as error:
            if self._name and "encoder" not in error.metadata:
                error.message = f"the {self._name} encoder cannot be used: {error.message}"
                error.metadata = {**error.metadata, "encoder": self._name}
            raise
