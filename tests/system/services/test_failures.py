"""What breaks around the services, and what they say then."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Client, ClipSearchError, Point

pytestmark = pytest.mark.slow


def unit(*numbers: float, dimension: int = 512) -> np.ndarray:
    vector = np.zeros(dimension, np.float32)
    vector[: len(numbers)] = numbers
    return vector


def _eventually(call, seconds: float = 10.0):
    """What the call answers once it is no longer UNAVAILABLE."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except ClipSearchError as error:
            if error.code != "UNAVAILABLE" or time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_points_payloads_and_settings_outlive_the_process(service, encoder, tmp_path):
    environment = {"SEARCH_ENCODER": encoder.address, "SEARCH_DATA_DIR": str(tmp_path / "data")}
    first = service("search", **environment).start()
    with Client(first.address) as client:
        client.create_collection("kept", payload_indexes={"price": "integer"})
        client.update_alias("current", "kept")
        client.upsert("kept", [Point("a", text="a cat", payload={"price": 3, "tags": ["x", "y"]})])
        settings = client.get_collection("kept")
    assert first.stop(signal.SIGTERM) == 0

    again = service("search", **environment).start()
    with Client(again.address) as client:
        point = client.get_points("current", ["a"], with_vectors=True)[0]
        assert point.payload == {"price": 3, "tags": ["x", "y"]}
        assert np.linalg.norm(point.text_vector) == pytest.approx(1, abs=1e-5)
        kept = client.get_collection("kept")
        assert (kept.fingerprint, kept.dimension, kept.payload_indexes, kept.aliases) == (
            settings.fingerprint,
            settings.dimension,
            {"price": "integer"},
            ("current",),
        )
        assert client.search("current", "cat")[0].id == "a"


def test_acknowledged_points_survive_sigkill(service, encoder, tmp_path):
    environment = {"SEARCH_ENCODER": encoder.address, "SEARCH_DATA_DIR": str(tmp_path / "data")}
    first = service("search", **environment).start()
    with Client(first.address) as client:
        client.create_collection("kept")
        client.upsert("kept", [Point(str(n), image_vector=unit(1, n / 50)) for n in range(50)])
    first.stop(signal.SIGKILL)
    again = service("search", **environment).start()
    with Client(again.address) as client:
        assert client.count("kept") == 50


def test_another_models_collection_is_refused_naming_both_fingerprints(search, encoder):
    with Client(search.address) as client:
        foreign = "f" * 32
        client.create_collection("foreign", dimension=512, fingerprint=foreign)
        client.upsert("foreign", [Point("a", image_vector=unit(1))])
        own = client.create_collection("own").fingerprint
        for attempt in (
            lambda: client.search("foreign", "a cat"),
            lambda: client.upsert("foreign", [Point("b", text="a cat")]),
        ):
            with pytest.raises(ClipSearchError) as caught:
                attempt()
            assert caught.value.code == "FAILED_PRECONDITION"
            assert caught.value.reason == "FINGERPRINT_MISMATCH"
            assert foreign in str(caught.value)
            assert own in str(caught.value)
        assert client.search("foreign", vector=unit(1))[0].id == "a"
        assert client.count("foreign") == 1


def test_the_encoder_gone_and_back(service, starter_bundle, tmp_path):
    encoder = service("encoder", ENCODER_MODEL=str(starter_bundle)).start()
    search = service("search", SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=str(tmp_path / "data")).start()
    with Client(search.address) as client:
        client.create_collection("c")
        client.upsert("c", [Point("a", text="a cat")])
        encoder.stop(signal.SIGKILL)
        with pytest.raises(ClipSearchError) as caught:
            client.search("c", "a dog")
        assert caught.value.code == "UNAVAILABLE"
        assert "encoder" in str(caught.value)
        # what needs no encoder works on
        assert len(client.search("c", point_id="a")) == 0
        assert client.count("c") == 1
        encoder.start(port=encoder.port)
        assert _eventually(lambda: client.search("c", "a dog"))[0].id == "a"


def test_a_data_directory_in_use_is_one_clear_line(service, search, encoder):
    data = search.environment["SEARCH_DATA_DIR"]
    second = service("search", SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=data)
    assert second.launch().wait(timeout=60) == 1
    assert data in second.text()
    assert "Traceback" not in second.text()


def test_a_port_in_use_is_one_clear_line(service, encoder, starter_bundle):
    second = service("encoder", ENCODER_MODEL=str(starter_bundle))
    assert second.launch(port=encoder.port).wait(timeout=60) == 1
    assert f"{encoder.address}: the port is in use" in second.text()
    assert "Traceback" not in second.text()


@pytest.mark.parametrize("damage", ["missing", "altered", "none at all"])
def test_a_damaged_bundle_is_one_clear_line(service, starter_bundle: Path, tmp_path, damage):
    bundle = tmp_path / "bundle"
    if damage != "none at all":
        shutil.copytree(starter_bundle, bundle)
        tokenizer = bundle / "tokenizer.json"
        if damage == "missing":
            tokenizer.unlink()
        else:
            tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    process = service("encoder", ENCODER_MODEL=str(bundle))
    assert process.launch().wait(timeout=60) == 1
    assert "bundle" in process.text()
    assert "Traceback" not in process.text()


def test_a_misspelt_setting_is_one_clear_line(service, starter_bundle):
    process = service("encoder", ENCODER_MODEL=str(starter_bundle), ENCODER_MAX_BACH="8")
    assert process.launch().wait(timeout=60) != 0
    assert "ENCODER_MAX_BACH: no such setting; did you mean ENCODER_MAX_BATCH?" in process.text()
    assert "Traceback" not in process.text()
