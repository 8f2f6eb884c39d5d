"""A page whose misbehaviour is noted: scripts that fail, broken policies, dialogs, requests to elsewhere."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Dialog, Page, Request

_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error("policy broken:", event.violatedDirective, event.blockedURI, event.sourceFile));
"""


class Watch:
    """Notes what a page does that it must not; `check` asserts that there was nothing.

    `expected`: parts of console errors that a test brings about itself (a service that is down, say).
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.expected: list[str] = []
        self.requests: list[str] = []
        self._wrong: list[str] = []
        self._origin = urlsplit(origin).netloc
        page.add_init_script(_TELL_VIOLATIONS)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._wrong.append(f"error: {error}"))
        page.on("dialog", self._on_dialog)
        page.on("request", self._on_request)

    def check(self) -> None:
        wrong = [text for text in self._wrong if not any(part in text for part in self.expected)]
        assert not wrong, "\n".join(wrong)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._wrong.append(f"console: {message.text} {message.location.get('url', '')}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url)
        if parts.scheme in ("blob", "data"):
            return
        if parts.netloc != self._origin:
            self._wrong.append(f"request to elsewhere: {request.url}")
