"""What a client shows and trusts is looked at first: gRPC itself would fail at every connection."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from clipsearch.channel.credentials import ClientTls, CredentialsError, bearer, channel_credentials


def test_a_file_of_cas_holds_a_certificate(tmp_path: Path):
    ca = trustme.CA()
    for name, content in (
        ("key", ca.private_key_pem.bytes()),
        ("empty", b""),
        ("der", b"\x30\x82\xff"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CredentialsError, match=f"{name} holds no PEM certificate of a CA"):
            channel_credentials(ClientTls(tmp_path / name))
    (tmp_path / "ca").write_bytes("# für uns\n".encode() + ca.cert_pem.bytes())
    channel_credentials(ClientTls(tmp_path / "ca"))


def test_a_token_is_a_word_that_a_header_may_hold():
    assert bearer("abc\n") == bearer(" abc") == (("authorization", "Bearer abc"),)
    assert bearer(None) == bearer("") == bearer(" \n") == ()
    for token in ("a\nb", "\u00e9", "a\0", b"abc"):
        with pytest.raises(CredentialsError) as refused:
            bearer(token)
        assert str(token) not in str(refused.value)
