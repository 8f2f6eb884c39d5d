"""`clipsearch web`: what it refuses before it serves, in one line."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner

from clipsearch.cli import app


@pytest.fixture(autouse=True)
def served(monkeypatch) -> list[dict]:
    """The settings that would be served; nothing is."""
    settings = []
    monkeypatch.setattr("clipsearch.web.server.serve", lambda *arguments: None)
    monkeypatch.setattr("clipsearch.web.app.create_app", lambda given, ready: settings.append(given))
    return settings


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["web", "--port", "0", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, " ".join(result.output.split())


def pem(folder: Path, name: str) -> list[str]:
    issued = trustme.CA().issue_cert("search.example.com")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return [str(certificate), str(key)]


def test_by_default_only_this_machine_is_served_with_its_token(served, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_TOKEN", "own")
    code, output = run()
    assert code == 0
    assert "without --root FOLDER the page shows no images" in output
    assert (served[0].local, served[0].secure, served[0].token) == (True, False, "own")
    assert set(served[0].sides) == {"a"}
    assert "own" not in repr(served[0])


def test_beyond_this_machine_the_server_has_no_token(served, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPSEARCH_TOKEN", "own")
    certificate, key = pem(tmp_path, "a")
    monkeypatch.setattr("clipsearch.web.server.listen", lambda host, port: socket.socket())
    code, output = run("--host", "search.example.com", "--tls-certificate", certificate, "--tls-key", key)
    assert code == 0, output
    assert (served[0].local, served[0].secure, served[0].token) == (False, True, None)


def test_beyond_this_machine_tokens_do_not_travel_in_the_clear(served):
    code, output = run("--host", "0.0.0.0")
    assert code == 1
    assert "--tls-certificate and --tls-key, or --insecure" in output
    assert not served


def test_a_certificate_and_the_key_of_another(served, tmp_path):
    certificate, _ = pem(tmp_path, "a")
    _, key = pem(tmp_path, "b")
    assert run("--tls-certificate", certificate)[0] == 1
    code, output = run("--tls-certificate", certificate, "--tls-key", key)
    assert code == 1
    assert "no PEM certificate and its key" in output


def test_a_second_side_is_completed_from_the_first(served):
    run("--server", "s:1", "--encoder", "e:1", "--compare-encoder", "e:2")
    assert (served[0].sides["b"].search, served[0].sides["b"].encoder) == ("s:1", "e:2")


def test_a_map_must_have_its_page(served, tmp_path):
    code, output = run("--map", str(tmp_path))
    assert code == 1
    assert "there is no map.html in it" in output
    (tmp_path / "map.html").write_text("")
    assert run("--map", str(tmp_path))[0] == 0
    assert served[0].maps[0].name == tmp_path.name
    (tmp_path / "map.json").write_text('{"collection": "shop"}')
    run("--map", str(tmp_path))
    assert served[1].maps[0].name == "shop"


def test_a_port_that_is_taken(served):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, output = run("--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "Address already in use; --port 0 takes a free one" in output


def test_trust_that_cannot_be_read_is_said_at_start(served, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_TLS_CA", "/no/such/ca.pem")
    code, output = run()
    assert code == 1
    assert "/no/such/ca.pem" in output


def test_without_the_extra_it_is_named_and_no_other():
    without = "import sys; sys.modules |= {'uvicorn': None, 'pydantic_settings': None}"
    run = f"{without}; from clipsearch.cli import main; sys.argv = ['clipsearch', 'web']; main()"
    done = subprocess.run([sys.executable, "-c", run], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: this needs uvicorn: pip install 'clipsearch[web]'" in done.stderr


def test_an_address_that_can_be_none_is_told(served):
    code, said = run("--compare-server", "http://127.0.0.1:50062")
    assert (code, served) == (1, [])
    assert said.endswith("is a URL; the address of a service is 127.0.0.1:50062")
