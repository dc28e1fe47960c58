"""What tests in a browser share: one server, one browser for each file, and its tabs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.ui.tabs import EAR, SERVE, Server, Tab, announced, note_foreign


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    outgoing, log = folder / "outgoing", folder / "log"
    outgoing.touch()
    home = folder / "home"  # no settings of whoever runs the tests
    home.mkdir()
    environment = os.environ | {"HOME": str(home)}
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", EAR + SERVE, str(outgoing)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
        )
        try:
            yield Server(announced(process, log), outgoing, log)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def browser(browser_executable: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=browser_executable,
            # Whatever the page asks for elsewhere is not even looked up.
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield browser
        browser.close()


@pytest.fixture
def new_tab(browser: Any, server: Server) -> Iterator[Any]:
    contexts = []

    def new_tab(**options: Any) -> Tab:
        context = browser.new_context(
            **{"viewport": {"width": 1440, "height": 1000}, "accept_downloads": True} | options
        )
        contexts.append(context)
        tab = Tab(context.new_page())

        def guard(route: Any) -> None:
            if urlsplit(route.request.url).hostname == "127.0.0.1":
                route.continue_()
            else:
                tab.elsewhere.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        tab.page.on("websocket", lambda socket: note_foreign(socket.url, tab.elsewhere))
        tab.page.on(
            "console", lambda line: tab.errors.append(line.text) if line.type == "error" else None
        )
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        tabs.append(tab)
        return tab

    tabs: list[Tab] = []
    yield new_tab
    for context in contexts:
        context.close()
    assert not [address for tab in tabs for address in tab.elsewhere]
    assert not [error for tab in tabs for error in tab.errors]


@pytest.fixture
def tab(new_tab: Any, server: Server) -> Tab:
    opened: Tab = new_tab().open(server.url)
    return opened
