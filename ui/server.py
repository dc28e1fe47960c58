"""Starts the page: Streamlit, set up so that nothing leaves the machine."""

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import click

__all__ = ["LOCAL", "SETTINGS", "available_port", "serve"]

LOCAL: Final = "127.0.0.1"
_USUAL_PORT: Final = 8501  # so that a link from last time works again
_EXTRA: Final = ("streamlit", "plotly")

# Passed as flags, which count more than files and variables in whatever environment this runs in.
SETTINGS: Final = MappingProxyType(
    {
        "browser.gatherUsageStats": "false",
        # The prompt would wait for an answer on standard input.
        "server.showEmailPrompt": "false",
        # The welcome message looks the machine's public address up.
        "logger.hideWelcomeMessage": "true",
        "server.fileWatcherType": "none",
        "global.developmentMode": "false",
        "client.toolbarMode": "minimal",
        "server.maxUploadSize": "1",
    }
)


def serve(*, address: str, port: int | None, browser: bool) -> None:
    """Run the page until it is interrupted.

    Raises
    ------
    click.ClickException
        If the UI's libraries are missing, or the port is taken.
    """
    if any(find_spec(name) is None for name in _EXTRA):
        message = "The page needs Streamlit and Plotly: pip install 'dp-planner[ui]'"
        raise click.ClickException(message)
    found = available_port(address, port)
    flags = SETTINGS | {
        "server.address": address,
        "server.port": f"{found}",
        "server.headless": "false" if browser and _has_display() else "true",
    }
    shown = f"[{address}]" if ":" in address else address
    click.echo(f"dp-planner runs at http://{shown}:{found} until you press Ctrl-C.")
    sys.stdout.flush()

    from streamlit.web import cli

    app = Path(__file__).with_name("app.py")
    cli.main(["run", str(app), *(f"--{name}={value}" for name, value in flags.items())])


def available_port(address: str, port: int | None) -> int:
    """Return a port that nobody listens on: the one asked for, else the usual one, else any.

    Raises
    ------
    click.ClickException
        If the port that was asked for cannot be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for candidate in (_USUAL_PORT, 0) if port is None else (port,):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server does it: a port that was just left is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, candidate))
            except OSError as error:
                problem = error
                continue
            return int(probe.getsockname()[1])
    asked = f"port {port} of {address}" if port is not None else f"any port of {address}"
    raise click.ClickException(f"Cannot listen on {asked}: {problem.strerror}.")


def _has_display() -> bool:
    """Whether a browser could open at all; without one a text browser might take the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
