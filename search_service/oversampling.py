"""How much a search of compressed vectors fetches before it compares again with the originals.

Rescoring alone only reorders what was fetched. Of 20,000 clustered vectors (`make bench-search`) a search
for ten that fetched ten had a recall of 0.26 with binary vectors, 0.70 with product and 0.89 with scalar
ones. The factors are those with which recall is 0.99 (product: 0.98, binary: 0.92), at 512 dimensions;
between 128 and 1,536 of them it hardly differed.
"""

from __future__ import annotations

from dataclasses import replace

from search_service.queries import Query
from search_service.stores.protocol import BinaryEncoding, CollectionSpec

# Times the limit, by what compression keeps of a vector. 0 bits = the engine's default, 4.
_SCALAR = 4.0
_TURBO = {0.0: 4.0, 8.0: 4.0, 4.0: 4.0, 2.0: 6.0, 1.5: 8.0, 1.0: 16.0}
_PRODUCT = {4: 4.0, 8: 4.0, 16: 8.0, 32: 16.0, 64: 32.0}
_BINARY: dict[BinaryEncoding, float] = {"one_bit": 64.0, "one_and_half_bits": 48.0, "two_bits": 48.0}

# A long list needs fewer times its length, and its cost grows with what is fetched.
_LONG_LIST = 4.0
_CANDIDATES = 1000


def default_oversampling(spec: CollectionSpec) -> float:
    """Times the limit that a short search of the collection fetches where it does not say; 1 = no more."""
    params = spec.quantization_params
    match spec.quantization:
        case "scalar":
            return _SCALAR
        case "turbo":
            return _TURBO[params.bits]
        case "product":
            return _PRODUCT[params.compression]
        case "binary":
            return _BINARY[params.encoding]
    return 1.0


def oversampling(spec: CollectionSpec, window: int) -> float:
    """The default for a search of which the first `window` hits are wanted, offset included; at least 1.

    Beyond 1,000 candidates it is less than `default_oversampling`, but not less than 4.
    """
    factor = default_oversampling(spec)
    return min(factor, max(_LONG_LIST, _CANDIDATES / window))


def with_default_oversampling(query: Query, spec: CollectionSpec) -> Query:
    """The query with the collection's default where it says nothing; a caller's own number stands.

    A search that is exact, or that does not rescore, is left alone: it has no use for more.
    """
    if spec.quantization == "none" or query.oversampling or query.exact or query.rescore is False:
        return query
    # Said outright: left to itself the engine rescores some kinds and others not.
    return replace(query, rescore=True, oversampling=oversampling(spec, query.offset + query.limit))
