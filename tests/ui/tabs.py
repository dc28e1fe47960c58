"""The planner in a browser: its server, which may talk to nobody, and tabs on it."""

import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# An ear on every address that a process asks for or connects to: what is not this machine is
# written down and refused.
EAR = """
import sys

record = open(sys.argv[1], "a", buffering=1)
HERE = ("127.", "localhost", "::1", "0.0.0.0")

def listen(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        address = arguments
    else:
        return
    host = address[0] if isinstance(address, tuple) else address
    if host is None or str(host).startswith(("/", *HERE)):
        return
    record.write(f"{event} {address}\\n")
    raise PermissionError(f"{event} {address}")

sys.addaudithook(listen)
"""
SERVE = "from ui.cli import main; sys.argv[1:] = ['ui', '--no-browser']; main()"


@dataclass
class Server:
    url: str
    outgoing: Path
    log: Path


def announced(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        found = re.search(r"runs at (http://127\.0\.0\.1:\d+) until", log.read_text())
        if found and _listens(found[1]):
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def _listens(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Tab:
    """A tab on the planner, in a browser context of its own, and what it asked for elsewhere."""

    page: Any
    elsewhere: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, address: str) -> "Tab":
        self.page.goto(address)
        return self.answered()

    def answered(self) -> "Tab":
        self.page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
        return self

    def settled(self) -> "Tab":
        """Wait until the script is done, curves and all."""
        self.page.wait_for_selector("[data-test-script-state=notRunning]", timeout=120_000)
        return self

    def says(self, text: str, timeout: float = 30_000) -> None:
        """Wait until the headline holds a text."""
        self.page.get_by_role("heading", level=1).filter(has_text=text).wait_for(timeout=timeout)

    def entry(self, label: str) -> Any:
        return self.page.get_by_role("textbox", name=label, exact=True)

    def holds(self, label: str, text: str) -> None:
        """Wait until an entry holds a text: the browser fills it a moment after it is there."""
        self.page.wait_for_function(
            "([entry, text]) => entry.value === text",
            arg=[self.entry(label).element_handle(), text],
            timeout=30_000,
        )

    def headline(self) -> str:
        return str(self.page.get_by_role("heading", level=1).inner_text())

    def enter(self, label: str, text: str) -> None:
        self.entry(label).fill(text)
        self.entry(label).press("Enter")

    def choose(self, text: str) -> None:
        self.page.get_by_role("radio", name=text, exact=True).click()

    def press(self, text: str) -> None:
        # Streamlit's icons are words to the accessibility tree: "keep Pin to compare".
        name = re.compile(rf"(^|\s){re.escape(text)}$")
        self.page.get_by_role("button", name=name).first.click()


def note_foreign(address: str, elsewhere: list[str]) -> None:
    if urlsplit(address).hostname != "127.0.0.1":
        elsewhere.append(address)
