"""Each route, in front of services that answer what they are told."""

from __future__ import annotations

import base64

import pytest

from clipsearch.client.errors import ArgumentError
from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.filters.expressions import FilterError
from clipsearch.search.v1 import collection_pb2, search_pb2
from clipsearch.web.errors import WebError, answer, asking
from clipsearch.web.settings import Side
from tests.unit.clipsearch.web.fakes import picture, status

SEARCH = {"collection": "c", "terms": [{"text": "a cat"}]}


def hits(*payloads, **more):
    found = [
        search_pb2.Hit(id=str(i), score=0.5, cosine=0.1, matched=search_pb2.TARGET_IMAGE, payload=payload)
        for i, payload in enumerate(payloads)
    ]
    return search_pb2.SearchResponse(hits=found, fingerprint="f1", **more)


def error_of(answer) -> dict:
    return answer.json()["error"]


# Search


def test_a_search_is_passed_on(page, told, root):
    picture(root / "cat.png")
    told.answers["Search"] = hits({"path": str(root / "cat.png")}, {"n": 1}, {})
    asked = {
        "side": "a",
        "collection": "c",
        "terms": [
            {"text": "a cat", "weight": 2},
            {"image": base64.b64encode(b"jpeg").decode()},
            {"point_id": "7", "weight": -1},
        ],
        "target": "image",
        "filter": [{"field": "price", "op": "<", "value": 20}],
        "limit": 2,
        "offset": 4,
    }
    answer = page.post("/api/search", json=asked).json()
    (request,) = [request for request in told.requests if isinstance(request, search_pb2.SearchRequest)]
    text, image, point = request.query
    assert (text.text, text.weight) == ("a cat", 2)
    assert (image.image, image.weight) == (b"jpeg", 1)
    assert (point.point_id, point.weight) == ("7", -1)
    assert (request.target, request.limit, request.offset) == (search_pb2.TARGET_IMAGE, 3, 4)
    assert request.filter.must[0].field.range.lt == 20
    assert answer["more"]
    assert [found["thumb"] for found in answer["hits"]] == ["/thumb?side=a&collection=c&id=0&size=160", None]
    assert set(answer["took_ms"]) == {"encode", "store", "total"}


def test_hits_are_grouped(page, told):
    found = hits({"n": 0}, {"n": 1}, {"n": 2}).hits
    told.answers["SearchGroups"] = search_pb2.SearchGroupsResponse(
        groups=[
            search_pb2.Group(id=search_pb2.FieldValue(keyword="acme"), hits=found[:2]),
            search_pb2.Group(id=search_pb2.FieldValue(integer=7), hits=found[2:]),
        ],
        search=hits(fused=True, fusion=search_pb2.FUSION_RRF),
    )
    answer = page.post("/api/search", json={**SEARCH, "group_by": "brand", "limit": 2}).json()
    [request] = told.requests
    assert (request.group_by, request.search.limit, request.search.query[0].text) == ("brand", 2, "a cat")
    assert answer["groups"] == [{"value": "acme", "hits": 2}, {"value": 7, "hits": 1}]
    assert [hit["payload"] for hit in answer["hits"]] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert (answer["more"], answer["fusion"]) == (False, "rrf")
    told.errors["SearchGroups"] = status("INVALID_ARGUMENT", "X", "no", "search.query[0].text")
    refused = page.post("/api/search", json={**SEARCH, "group_by": "brand"})
    assert error_of(refused)["field"] == "terms[0].text"


def test_only_what_cannot_be_sent_is_the_callers_fault():
    for error in (ArgumentError("limit: must be 1 or more, is 0"), FilterError("filter: is empty")):
        with pytest.raises(WebError, match=str(error)), asking("a", "search"):
            raise error
    with pytest.raises(ValueError, match="a bug"), asking("a", "search"):
        raise ValueError("a bug")


def test_a_search_asks_the_encoder_nothing(page, told):
    told.answers["Search"] = hits({})
    assert page.post("/api/search", json=SEARCH).status_code == 200
    assert not any(isinstance(request, encoder_pb2.GetModelRequest) for request in told.requests)


@pytest.mark.parametrize(
    ("said", "expected", "reason", "field", "service"),
    [
        (("INVALID_ARGUMENT", "X", "no", "query[1].text"), 400, "X", "terms[1].text", "search"),
        (("INVALID_ARGUMENT", "X", "no", "query[0].image"), 400, "X", "terms[0].image", "search"),
        (("INVALID_ARGUMENT", "X", "no", "filter.must_not[0].field"), 400, "X", "filter[1]", "search"),
        (("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH", "f"), 409, "FINGERPRINT_MISMATCH", None, "search"),
        (("NOT_FOUND", "COLLECTION_NOT_FOUND", "no c"), 404, "COLLECTION_NOT_FOUND", None, "search"),
        (("UNAUTHENTICATED", "TOKEN_UNKNOWN", "who?"), 401, "TOKEN_UNKNOWN", None, "search"),
        (("PERMISSION_DENIED", "SCOPE_MISSING", "no"), 403, "SCOPE_MISSING", None, "search"),
        (("RESOURCE_EXHAUSTED", "QUEUE_FULL", "full", "", 2), 429, "QUEUE_FULL", None, "search"),
        (("UNAVAILABLE", "ENCODER_UNAVAILABLE", "away", "", 1), 503, "ENCODER_UNAVAILABLE", None, "encoder"),
        (("UNAVAILABLE", "STORE_UNAVAILABLE", "away"), 503, "STORE_UNAVAILABLE", None, "search"),
        (("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "late"), 504, "DEADLINE_EXCEEDED", None, "search"),
        (("INTERNAL", "INTERNAL", "incident 5"), 502, "INTERNAL", None, "search"),
        (("UNIMPLEMENTED", "", "no such method"), 502, "UNIMPLEMENTED", None, "search"),
    ],
)  # fmt: skip
def test_what_the_service_says_reaches_the_page(page, told, said, expected, reason, field, service):
    told.errors["Search"] = status(*said)
    conditions = [{"field": "a", "op": "=", "value": 1}, {"field": "b", "op": "!=", "value": 2}]
    answer = page.post("/api/search", json={**SEARCH, "filter": conditions})
    assert answer.status_code == expected
    error = error_of(answer)
    assert (error["reason"], error["field"], error["side"], error["service"]) == (reason, field, "a", service)
    retry_s = said[4] if len(said) > 4 else None
    assert error["retry_after_s"] == retry_s
    assert answer.headers.get("retry-after") == (str(retry_s) if retry_s else None)
    assert not error["message"].startswith("query[")


def test_a_service_that_is_away_is_told_without_its_address(open_page, told):
    page = open_page(sides={"a": Side("127.0.0.1:9", told.address)})
    side = page.get("/api/state").json()["sides"]["a"]
    why = "the search service cannot be reached: nothing listens at its address"
    assert side["search"] == {"ok": False, "reason": "CONNECTION_REFUSED", "message": why}
    assert side["encoder"]["ok"]


def test_the_other_side(open_page, told):
    page = open_page(sides={"a": Side("127.0.0.1:9", "127.0.0.1:9"), "b": Side(told.address, told.address)})
    assert page.post("/api/search", json={**SEARCH, "side": "b"}).status_code == 200
    assert set(page.get("/api/state").json()["sides"]) == {"a", "b"}


def test_there_may_be_no_other_side(page):
    answer = page.post("/api/search", json={**SEARCH, "side": "b"})
    assert (answer.status_code, error_of(answer)["reason"]) == (404, "SIDE_UNKNOWN")


# State


def test_the_state_tells_what_can_be_searched(page, told):
    found = [
        collection_pb2.Collection(
            name="shop",
            fingerprint=fingerprint,
            points=3,
            aliases=["s"],
            payload_indexes=[
                collection_pb2.PayloadIndex(field="price", type=collection_pb2.PAYLOAD_INDEX_TYPE_FLOAT)
            ],
        )
        for fingerprint in ("f1", "f2")
    ]
    told.answers["ListCollections"] = collection_pb2.ListCollectionsResponse(collections=found)
    state = page.get("/api/state").json()
    side = state["sides"]["a"]
    assert [one["fits_encoder"] for one in side["collections"]] == [True, False]
    assert side["collections"][0]["indexes"] == {"price": "float"}
    assert side["encoder"]["model"]["weak_match_below"] == 0.15
    assert side["search"] == {"ok": True, "reason": "", "message": ""}
    assert state["version"]


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        (("UNAVAILABLE", "STORE_UNAVAILABLE", "the store is away"), "STORE_UNAVAILABLE", "the store is away"),
        (("UNAUTHENTICATED", "TOKEN_MISSING", "who?"), "TOKEN_MISSING", "who?"),
        (("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", ""), "DEADLINE_EXCEEDED",
         "the encoder did not answer in time"),
        (("UNIMPLEMENTED", "", "Method not found!"), "UNIMPLEMENTED",
         "what answers at the address of the encoder is another server, or too old a one"),
        (("UNKNOWN", "", "at 10.0.0.7"), "UNKNOWN", "the encoder failed (UNKNOWN)"),
    ],
)  # fmt: skip
def test_the_state_tells_why_a_service_is_down(page, told, said, reason, message):
    told.errors["GetModel"] = status(*said)
    side = page.get("/api/state").json()["sides"]["a"]
    assert side["encoder"] == {"ok": False, "reason": reason, "message": message, "model": None}
    assert side["search"]["ok"]


# Classify


def test_a_picture_is_classified(page, told):
    score = encoder_pb2.LabelScore(label="cat", probability=0.5, cosine=0.25)
    found = encoder_pb2.Classification(scores=[score])
    told.answers["Classify"] = encoder_pb2.ClassifyResponse(classifications=[found])
    asked = {"image": base64.b64encode(b"jpeg").decode(), "labels": ["dog", "cat"], "template": "my {}"}
    answer = page.post("/api/classify", json=asked).json()
    assert answer["scores"] == [{"label": "cat", "probability": 0.5, "cosine": 0.25}]
    (request,) = told.requests
    assert (list(request.images), list(request.labels)) == ([b"jpeg"], ["dog", "cat"])
    assert request.prompt_template == "my {}"


@pytest.mark.parametrize(
    ("labels", "template", "field"),
    [(["x" * 5000], "a {}", "labels[0]"), (["cat"], "{}" * 3000, "template")],
)
def test_labels_and_template_are_bounded_before_the_encoder_is_asked(page, told, labels, template, field):
    asked = {"image": "AAAA", "labels": labels, "template": template}
    answer = page.post("/api/classify", json=asked)
    assert (answer.status_code, error_of(answer)["field"]) == (400, field)
    assert not told.requests


@pytest.mark.parametrize("path", ["/etc/passwd", "missing.png", None])
def test_a_stored_point_without_a_file_under_a_root_is_not(page, told, path):
    told.answers["GetPoints"] = points({"path": path})
    asked = {"point": {"collection": "c", "id": "7"}, "labels": ["cat"]}
    answer = page.post("/api/classify", json=asked)
    assert (answer.status_code, error_of(answer)["field"]) == (400, "point")


def test_a_picture_that_cannot_be_read_is_named(page, told):
    failed = encoder_pb2.Classification()
    failed.error.CopyFrom(status("INVALID_ARGUMENT", "IMAGE_TRUNCATED", "cut", "images[0]"))
    told.answers["Classify"] = encoder_pb2.ClassifyResponse(classifications=[failed])
    answer = page.post("/api/classify", json={"image": "AAAA", "labels": ["cat"]})
    error = error_of(answer)
    assert answer.status_code == 400
    assert (error["reason"], error["field"], error["message"]) == ("IMAGE_TRUNCATED", "image", "cut")


# Values


def points(*payloads):
    return search_pb2.GetPointsResponse(
        points=[search_pb2.StoredPoint(id=str(i), payload=payload) for i, payload in enumerate(payloads)]
    )


def facets(*values) -> search_pb2.FacetResponse:
    return search_pb2.FacetResponse(
        hits=[search_pb2.FacetHit(value=search_pb2.FieldValue(**value), count=7) for value in values]
    )


def test_values_come_with_their_counts_and_those_too_long_to_choose_are_left_out(page, told):
    long = "y" * 2001
    told.answers["Facet"] = facets({"keyword": "x"}, {"keyword": long}, {"boolean": True}, {"integer": 1})
    found = page.get("/api/values?collection=c&field=a.b").json()
    assert [(type(one["value"]), one["value"], one["count"]) for one in found["values"]] == [
        (str, "x", 7), (bool, True, 7), (int, 1, 7),
    ]  # fmt: skip
    assert not found["more"]
    assert (told.requests[-1].collection, told.requests[-1].key) == ("c", "a.b")


def test_only_so_many_values_are_told(page, told):
    told.answers["Facet"] = facets(*({"integer": i} for i in range(101)))
    found = page.get("/api/values?collection=c&field=a").json()
    assert (len(found["values"]), found["more"], told.requests[-1].limit) == (100, True, 101)


def test_a_field_whose_values_are_not_counted_is_told(page, told):
    told.errors["Facet"] = status("INVALID_ARGUMENT", "KEY_INVALID", "no", "key")
    answer = page.get("/api/values?collection=c&field=a")
    assert (answer.status_code, error_of(answer)["field"]) == (400, "field")


def test_what_the_address_lacks_is_named(page):
    assert error_of(page.get("/api/values?field=a"))["field"] == "collection"
    assert error_of(page.get("/thumb?collection=c"))["field"] == "id"
    assert error_of(page.get("/thumb?collection=c&id=1&size=5000"))["field"] == "size"
    assert error_of(page.get(f"/thumb?collection=c&id={'x' * 2049}"))["field"] == "id"


# Small images


def test_a_small_picture_of_a_point(page, told, root):
    picture(root / "猫.png")
    told.answers["GetPoints"] = points({"path": str(root / "猫.png")})
    answer = page.get("/thumb?side=a&collection=c&id=7&size=160")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.content[8:12] == b"WEBP"
    assert answer.headers["cache-control"] == "private, max-age=300"
    assert list(told.requests[0].ids) == ["7"]
    assert list(told.requests[0].payload.include) == ["path"]
    again = page.get("/thumb?side=a&collection=c&id=7", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "default-src 'none'" in again.headers["content-security-policy"]


def test_the_browser_names_no_path(page, told, root):
    picture(root / "a.png")
    told.answers["GetPoints"] = points({})
    assert page.get(f"/thumb?collection=c&id=7&path={root}/a.png").status_code == 404


@pytest.mark.parametrize("name", ["notes.txt", "page.html", "broken.png"])
def test_what_is_no_picture_is_not_served(page, told, root, name):
    (root / name).write_bytes(b"<script>secret</script>")
    told.answers["GetPoints"] = points({"path": str(root / name)})
    answer = page.get("/thumb?collection=c&id=7")
    assert (answer.status_code, error_of(answer)["reason"]) == (404, "IMAGE_NOT_FOUND")
    assert "secret" not in answer.text


def test_the_services_decide_who_sees_a_picture(open_page, told, root):
    picture(root / "a.png")
    told.answers["GetPoints"] = points({"path": str(root / "a.png")})
    told.known = {"mine"}
    page = open_page(local=False)
    assert page.get("/thumb?collection=c&id=7").status_code == 401
    page.cookies.set("clipsearch-token", "mine")
    assert page.get("/thumb?collection=c&id=7").status_code == 200


def test_a_point_that_is_not_there(page):
    answer = page.get("/thumb?collection=c&id=7")
    assert (answer.status_code, error_of(answer)["reason"]) == (404, "POINT_NOT_FOUND")


# Maps


def test_a_map_runs_in_a_sandbox_of_its_own(open_page, map_page):
    page = open_page(maps=(map_page,))
    assert page.get("/api/state").json()["maps"] == [{"name": "images", "url": "/map/0/"}]
    answer = page.get("/map/0/")
    assert "<title>map</title>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy  # default-src 'none'
    assert "frame-ancestors 'self'" in policy
    # Browsers refuse a sandboxed page with an opener policy.
    assert answer.headers["cross-origin-opener-policy"] == "unsafe-none"


def test_there_is_no_other_map_and_no_other_file_of_its_folder(open_page, map_page):
    page = open_page(maps=(map_page,))
    for path in ("/map/1/", "/map/-1/", "/map/0/map.json", "/map/0/%2e%2e/", "/map/99999999999999999999/"):
        assert page.get(path).status_code == 404
    map_page.path.unlink()
    assert page.get("/map/0/").status_code == 404


# The page itself


def test_the_page_and_its_files(page):
    answer = page.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    again = page.get("/", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    script = page.get("/static/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert page.get("/static/").status_code == 404


def test_errors_may_quote_anything():
    assert b"\\ud800" in answer(WebError(400, "X", "\ud800 is half a character")).body
