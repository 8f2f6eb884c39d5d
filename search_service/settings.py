"""What a search service can be told: flags and SEARCH_ variables, and Qdrant's own two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsConfigDict

from clipsearch.serving.settings import ServingSettings

# Fields of a payload that may be asked for, and indexes that a collection may be made with.
MAX_INCLUDED = 256
MAX_INDEXES = 256
MAX_STOPWORDS = 1000


class SearchSettings(ServingSettings):
    """Settings of the search service."""

    model_config = SettingsConfigDict(
        env_prefix="SEARCH_", extra="forbid", frozen=True, populate_by_name=True
    )

    port: int = Field(default=50052, ge=0, le=65535, description="port to listen on; 0 = any free one")
    encoder: str = Field(
        default="127.0.0.1:50051",
        min_length=1,
        description="host:port of the encoder, or any gRPC target such as dns:///encoder:50051",
    )
    second_encoder: str = Field(
        default="",
        description="the encoder of another model, reached with the same token and TLS, while collections "
        "move to that model",
    )
    encoder_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="longest wait for an answer of the encoder"
    )
    encoder_token: SecretStr | None = Field(
        default=None, description="token that is shown to the encoder; it needs the scope encode"
    )
    encoder_tls: bool = Field(default=False, description="the encoder speaks TLS")
    encoder_tls_ca: Path | None = Field(
        default=None,
        description="PEM file of the CAs to trust in the encoder's certificate; unset = gRPC's own",
    )
    encoder_tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate shown to the encoder; reloaded when it changes"
    )
    encoder_tls_key: Path | None = Field(
        default=None, description="PEM file of that certificate's private key; reloaded when it changes"
    )
    encoder_tls_server_name: str = Field(
        default="", description="name in the encoder's certificate, where it is not the address"
    )

    unready_after_s: float = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="seconds that the store or the encoder may be unreachable before health says NOT_SERVING",
    )

    data_dir: Path = Field(
        default=Path("clipsearch-data"),
        description="folder of the collections (Qdrant Edge, without QDRANT_URL)",
    )
    index_threshold: int = Field(
        default=20_000,
        ge=100,
        description="vectors without an HNSW index from which on Qdrant Edge builds one; until then they are "
        "searched exactly",
    )
    index_quiet_s: float = Field(
        default=2.0, ge=0.1, le=3600, description="seconds without a write before it does"
    )
    index_busy_s: float = Field(
        default=60.0, ge=0.1, le=86_400, description="seconds of writes without a pause after which it does"
    )
    qdrant_url: str = Field(
        default="", validation_alias="QDRANT_URL", description="Qdrant server to use instead of data_dir"
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, validation_alias="QDRANT_API_KEY", description="API key of the Qdrant server"
    )
    qdrant_grpc_port: int = Field(
        default=6334, ge=1, le=65535, description="gRPC port of the Qdrant server that QDRANT_URL names"
    )
    qdrant_tls_ca: Path | None = Field(
        default=None,
        description="PEM file of the CAs to trust in the certificate of a Qdrant server with https://; "
        "unset = gRPC's own",
    )
    qdrant_tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate shown to the Qdrant server"
    )
    qdrant_tls_key: Path | None = Field(
        default=None, description="PEM file of that certificate's private key"
    )
    qdrant_tls_server_name: str = Field(
        default="", description="name in the Qdrant server's certificate, where it is not the address"
    )
    qdrant_channels: int = Field(default=3, ge=1, le=64, description="connections to the Qdrant server")
    qdrant_ordering: Literal["weak", "medium", "strong"] = Field(
        default="weak", description="order of writes on a Qdrant cluster with replicas"
    )
    qdrant_consistency: Literal["one", "majority", "quorum", "all"] = Field(
        default="one", description="replicas of a Qdrant cluster that must agree on a read"
    )
    store_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="longest wait for an answer of the store"
    )

    max_points: int = Field(default=256, ge=1, description="points in an Upsert")
    max_terms: int = Field(default=16, ge=1, description="terms in a query")
    max_searches: int = Field(default=64, ge=1, description="searches in a SearchBatch")
    max_limit: int = Field(default=1000, ge=1, description="hits of a search")
    max_window: int = Field(default=10_000, ge=1, description="offset + limit of a search")
    max_page_size: int = Field(default=1000, ge=1, description="points in a page of ListPoints")
    max_filter_depth: int = Field(default=8, ge=1, le=64, description="filters inside one another")
    max_conditions: int = Field(
        default=1000, ge=1, description="conditions of a filter, those of filters inside it included"
    )
    max_ids: int = Field(default=1000, ge=1, description="ids, or values of a match, in a list")
    max_id_bytes: int = Field(default=512, ge=1, description="UTF-8 bytes of an id")
    max_payload_bytes: int = Field(default=64 * 1024, ge=1, description="bytes of a point's payload as sent")

    @property
    def most_elements(self) -> Mapping[str, int]:  # noqa: D102
        package = "clipsearch.search.v1"
        return {
            f"{package}.SearchRequest.query": self.max_terms,
            f"{package}.SearchRequest.context": self.max_terms,
            f"{package}.SearchRequest.boosts": self.max_terms,
            f"{package}.SearchBatchRequest.searches": self.max_searches,
            f"{package}.UpsertRequest.points": self.max_points,
            f"{package}.UpdateVectorsRequest.points": self.max_points,
            f"{package}.GetPointsRequest.ids": self.max_ids,
            f"{package}.PointIds.ids": self.max_ids,
            f"{package}.HasId.ids": self.max_ids,
            f"{package}.Keywords.values": self.max_ids,
            f"{package}.Integers.values": self.max_ids,
            f"{package}.PayloadSelector.include": MAX_INCLUDED,
            f"{package}.UpdatePayloadRequest.delete": MAX_INCLUDED,
            f"{package}.Filter.must": self.max_conditions,
            f"{package}.Filter.should": self.max_conditions,
            f"{package}.Filter.must_not": self.max_conditions,
            f"{package}.MinShould.conditions": self.max_conditions,
            f"{package}.DeleteVectorsRequest.vectors": 2,  # names of vectors that there are
            f"{package}.Stopwords.languages": MAX_STOPWORDS,
            f"{package}.Stopwords.custom": MAX_STOPWORDS,
            f"{package}.CreateCollectionRequest.payload_indexes": MAX_INDEXES,
        }

    def tls(
        self, dependency: Literal["encoder", "qdrant"]
    ) -> tuple[Path | None, Path | None, Path | None, str]:
        """CAs, certificate, its key and the server's name, of the TLS to this dependency."""
        if dependency == "encoder":
            files = self.encoder_tls_ca, self.encoder_tls_certificate, self.encoder_tls_key
            return *files, self.encoder_tls_server_name
        files = self.qdrant_tls_ca, self.qdrant_tls_certificate, self.qdrant_tls_key
        return *files, self.qdrant_tls_server_name

    @field_validator("data_dir", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value == "":  # which a path takes for the current folder
            raise PydanticCustomError("empty", "must not be empty")
        return value

    @model_validator(mode="after")
    def _secrets_that_can_be_sent(self) -> Self:
        for name, secret in (
            ("SEARCH_ENCODER_TOKEN", self.encoder_token),
            ("QDRANT_API_KEY", self.qdrant_api_key),
        ):
            value = secret.get_secret_value() if secret is not None else ""
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name} holds what no call can carry, a line break at its end, say")
        return self

    @model_validator(mode="after")
    def _no_tls_by_half(self) -> Self:
        encoder = ("SEARCH_ENCODER_TLS", self.encoder_tls, "SEARCH_ENCODER_TLS=true", self.tls("encoder"))
        https = self.qdrant_url.startswith("https://")
        qdrant = ("SEARCH_QDRANT_TLS", https, "a QDRANT_URL with https://", self.tls("qdrant"))
        for name, used, needed, given in (encoder, qdrant):
            _, certificate, key, _ = given
            if any(given) and not used:
                raise ValueError(f"settings {name}_... need {needed}")
            if (certificate is None) != (key is None):
                raise ValueError(f"{name}_CERTIFICATE and {name}_KEY belong together, one is not set")
        return self
