"""`clipsearch web`: the search page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.shared.access import access
from clipsearch.cli.shared.options import (
    DEFAULT_ENCODER,
    DEFAULT_SERVER,
    Encoder,
    Host,
    Insecure,
    Port,
    PortFile,
    Server,
    TlsCertificate,
    TlsKey,
)
from clipsearch.cli.shared.output import plain, stderr, stdout
from clipsearch.cli.shared.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clipsearch.web.settings import Side

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080


def web(
    server: Server = DEFAULT_SERVER,
    encoder: Encoder = DEFAULT_ENCODER,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder whose images may be shown. Repeatable.",
            show_default="no images",
        ),
    ] = None,
    map: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="Folder that `clipsearch map` wrote. Repeatable."),
    ] = None,
    compare_server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A second search service, to compare with.")
    ] = None,
    compare_encoder: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The second encoder.", show_default="--encoder")
    ] = None,
    host: Host = DEFAULT_HOST,
    port: Port = DEFAULT_PORT,
    port_file: PortFile = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    insecure: Insecure = False,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serves the search page: search by words and images, compare, classify, look at maps.

    Only this machine reaches it, unless --host says otherwise; then it needs TLS, and whoever opens the
    page signs in with a token of the services. CLIPSEARCH_TOKEN is used on this machine only.

    Examples:

      clipsearch web --root ~/Pictures --open

      clipsearch web --root ~/Pictures --map images-map

      clipsearch web --compare-server 127.0.0.1:50062 --compare-encoder 127.0.0.1:50061

      clipsearch web --host 0.0.0.0 --tls-certificate crt.pem --tls-key key.pem
    """
    from clipsearch.web.settings import Side

    check_tls(host, tls_certificate, tls_key, insecure)
    if not root:
        stderr().print("note: without --root FOLDER the page shows no images")
    sides = {"a": Side(server, encoder)}
    if compare_server or compare_encoder:
        sides["b"] = Side(compare_server or server, compare_encoder or encoder)
    serve_page(
        sides,
        root or (),
        map or (),
        host,
        port,
        port_file=port_file,
        certificate=tls_certificate,
        key=tls_key,
        open_browser=open,
    )


def check_tls(host: str, certificate: Path | None, key: Path | None, insecure: bool) -> None:
    """Raises Problem where tokens would travel in the clear, and for files that are no pair."""
    from clipsearch.channel.connection import is_loopback
    from clipsearch.channel.credentials import check_pair

    if (certificate is None) != (key is None):
        raise Problem("--tls-certificate and --tls-key belong together, one is not given")
    if certificate is not None and key is not None:
        check_pair(certificate, key)
    elif not is_loopback(host) and not insecure:
        raise Problem(
            f"--host {host} can be reached from other machines: give --tls-certificate and --tls-key, "
            "or --insecure"
        )


def serve_page(
    sides: Mapping[str, Side],
    roots: Sequence[Path],
    maps: Sequence[Path],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    port_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    open_browser: bool = False,
) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Raises Problem for a map's folder without a page and if the port is taken, AddressError,
    CredentialsError and OSError.
    """
    from clipsearch.channel.connection import grpc_target, host_port, is_loopback
    from clipsearch.channel.credentials import channel_credentials
    from clipsearch.web.app import create_app
    from clipsearch.web.routes.maps import map_page_in
    from clipsearch.web.server import listen, serve
    from clipsearch.web.settings import WebSettings

    for side in sides.values():
        for address in filter(None, (side.search, side.encoder)):
            grpc_target(address)  # that it can be none is said now, and not by a trace
    pages = []
    for folder in maps:
        page = map_page_in(folder)
        if page is None:
            raise Problem(f"--map {folder}: there is no map.html in it; `clipsearch map` writes one")
        pages.append(page)
    shown, local = access(), is_loopback(host)
    if shown["tls"] is not None:
        channel_credentials(shown["tls"])  # that the files are no good is said at start, not to a browser
    settings = WebSettings(
        sides=sides,
        roots=tuple(roots),
        maps=tuple(pages),
        local=local,
        secure=certificate is not None,
        hosts=frozenset({"localhost", "127.0.0.1", "::1", host.strip("[]")}),
        token=shown["token"] if local else None,
        tls=shown["tls"],
    )
    try:
        listener = listen(host.strip("[]"), port)
    except OSError as error:
        raise Problem(
            f"cannot listen on {host}:{port}: {error.strerror}; --port 0 takes a free one"
        ) from None

    def ready() -> None:
        address = host_port(*listener.getsockname()[:2])
        url = f"{'https' if certificate else 'http'}://{address}/"
        stdout().print(f"the page: [bold]{plain(url)}[/bold]   (Ctrl-C ends it)")
        if port_file is not None:
            port_file.write_text(address, encoding="utf-8")
        if open_browser:
            _open(url)

    with listener:
        serve(create_app(settings, ready), listener, certificate, key)


def _open(url: str) -> None:
    """If there is a browser; in a thread, as some only return when they are closed."""
    import os
    import threading
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    # One that runs in the terminal would take it from us. Whoever sets BROWSER means it.
    if type(browser) is not webbrowser.GenericBrowser or os.environ.get("BROWSER"):
        threading.Thread(target=browser.open, args=(url,), daemon=True).start()
