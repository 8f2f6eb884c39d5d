"""The encoders that the service knows: one, and a second while collections move to another model.

Whatever is encoded for a collection goes to the encoder whose model filled it. Which encoder runs
which model is asked once, and learnt anew from every answer: a replica may be replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clipsearch.serving.errors import FingerprintMismatch, InvalidArgument, ServiceError, Unavailable
from search_service.deadline import Deadline
from search_service.encoder.client import Encoder, Encoding, Model
from search_service.stores.protocol import CollectionSpec


class Encoders:
    """An Encoder, the first one, that also finds the right one for a collection.

    With one encoder nothing is asked and everything goes there. A second one that is away concerns
    only what needs it: that raises Unavailable("encoder"), and the message says which.
    """

    def __init__(self, first: Encoder, second: Encoder | None = None) -> None:
        self._all = [_Known("first", first)]
        if second is not None:
            self._all.append(_Known("second", second))

    async def ping(self) -> None:
        """Returns if the first encoder answers; the second is not asked."""
        await self._all[0].encoder.ping()

    async def encode(self, texts: Sequence[str], images: Sequence[bytes], deadline: Deadline) -> Encoding:
        """Encodes with the first encoder."""
        return await self._all[0].encoder.encode(texts, images, deadline)

    async def encode_for(
        self, spec: CollectionSpec, texts: Sequence[str], images: Sequence[bytes], deadline: Deadline
    ) -> Encoding:
        """Encodes with the encoder that runs the collection's model.

        Raises FingerprintMismatch if none does. The encoding may still be of another model, if an
        encoder got another one just now: compare its fingerprint.
        """
        if len(self._all) == 1:
            return await self.encode(texts, images, deadline)
        encoding = await self._encode(await self._of(spec, deadline), texts, images, deadline)
        if encoding.fingerprint == spec.fingerprint:
            return encoding
        return await self._encode(await self._of(spec, deadline), texts, images, deadline)

    async def model(self, deadline: Deadline, wanted: str = "") -> Model:
        """The model of that name or fingerprint; "" = the first encoder's.

        Raises InvalidArgument naming `model` if there is none, or two of one name.
        """
        if not wanted:
            return await self._all[0].ask(deadline, alone=len(self._all) == 1)
        models, away = await self._ask(deadline)
        found = [model for model in models if wanted in (model.fingerprint, model.name)]
        if len({model.fingerprint for model in found}) == 1:
            return found[0]
        if away is not None:
            raise away
        known = ", ".join(f"{model.name} ({model.fingerprint})" for model in models)
        what = "the name of two models" if found else "no model of the encoders"
        raise InvalidArgument("model", f"{wanted!r} is {what}; there are {known}", "MODEL_UNKNOWN")

    async def _of(self, spec: CollectionSpec, deadline: Deadline) -> _Known:
        """The encoder whose model filled the collection; asks them if none is known to."""
        for known in self._all:
            if known.fingerprint == spec.fingerprint:
                return known
        models, away = await self._ask(deadline)
        for known in self._all:
            if known.fingerprint == spec.fingerprint:
                return known
        if away is not None:
            raise away
        fingerprints = " and ".join(model.fingerprint for model in models)
        raise FingerprintMismatch(spec.name, spec.fingerprint, fingerprints, "the encoder")

    async def _ask(self, deadline: Deadline) -> tuple[list[Model], ServiceError | None]:
        """The models of the encoders that answer, and why one of them does not."""
        answers = await asyncio.gather(
            *(known.ask(deadline, alone=len(self._all) == 1) for known in self._all), return_exceptions=True
        )
        models, away = [], None
        for answer in answers:
            if isinstance(answer, Model):
                models.append(answer)
            elif isinstance(answer, ServiceError):
                away = answer
            else:
                raise answer
        return models, away

    async def _encode(
        self, known: _Known, texts: Sequence[str], images: Sequence[bytes], deadline: Deadline
    ) -> Encoding:
        try:
            encoding = await known.encoder.encode(texts, images, deadline)
        except Unavailable as error:
            raise known.named(error) from None
        known.fingerprint = encoding.fingerprint
        return encoding


class _Known:
    """An encoder, and the fingerprint of its model when it last answered; "" = not asked yet."""

    def __init__(self, name: str, encoder: Encoder) -> None:
        self.name = name
        self.encoder = encoder
        self.fingerprint = ""

    async def ask(self, deadline: Deadline, *, alone: bool) -> Model:
        """Its model. An encoder that is not alone is named in the error."""
        try:
            model = await self.encoder.model(deadline)
        except Unavailable as error:
            raise error if alone else self.named(error) from None
        self.fingerprint = model.fingerprint
        return model

    def named(self, error: Unavailable) -> Unavailable:
        """The error, told of this encoder."""
        if "encoder" not in error.metadata:
            error.message = f"the {self.name} encoder cannot be used: {error.message}"
            error.metadata = {**error.metadata, "encoder": self.name}
        return error
