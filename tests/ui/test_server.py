"""The page is served from this machine to this machine, and asks nobody anything."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import click
import pytest

from ui import server
from ui.server import LOCAL, SETTINGS, available_port, serve

ROOT = Path(__file__).parent.parent.parent
CODE = "from ui.cli import main; main(prog_name='dp-planner')"


def listening(port: int = 0) -> socket.socket:
    taken = socket.create_server((LOCAL, port))
    taken.listen()
    return taken


def test_a_port_that_is_asked_for_is_used():
    with listening() as taken:
        port = taken.getsockname()[1]
    assert available_port(LOCAL, port) == port


def test_a_port_that_is_taken_is_refused():
    with listening() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            click.ClickException, match=rf"port {port} of 127\.0\.0\.1: Address already"
        ):
            available_port(LOCAL, port)


def test_without_a_port_any_free_one_is_found(monkeypatch):
    with listening() as taken:
        monkeypatch.setattr(server, "_USUAL_PORT", taken.getsockname()[1])
        found = available_port(LOCAL, None)
        assert found != taken.getsockname()[1]
    with listening(found):
        pass


def test_an_address_that_is_not_here_is_refused():
    with pytest.raises(click.ClickException, match=r"any port of 192\.0\.2\.1"):
        available_port("192.0.2.1", None)


def test_missing_libraries_are_one_line(monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with pytest.raises(click.ClickException) as caught:
        serve(address=LOCAL, port=None, browser=False)
    assert "pip install 'dp-planner[ui]'" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("platform", "environment", "browser", "headless"),
    [
        ("linux", {}, True, "true"),
        ("linux", {"DISPLAY": ":0"}, True, "false"),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True, "false"),
        ("linux", {"DISPLAY": ":0"}, False, "true"),
        ("darwin", {}, True, "false"),
    ],
)
def test_streamlit_is_told_everything(
    monkeypatch, capsys, platform, environment, browser, headless
):
    from streamlit.web import cli

    told: list[list[str]] = []
    monkeypatch.setattr(cli, "main", told.append)
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    serve(address=LOCAL, port=None, browser=browser)
    ((command, app, *flags),) = told
    assert command == "run"
    assert Path(app) == ROOT / "ui" / "app.py"
    assert f"--server.headless={headless}" in flags
    assert "--server.address=127.0.0.1" in flags
    assert {f"--{name}={value}" for name, value in SETTINGS.items()} <= set(flags)
    (port,) = (flag.partition("=")[2] for flag in flags if flag.startswith("--server.port"))
    assert f"http://127.0.0.1:{port} " in capsys.readouterr().out


def test_nothing_is_sent_and_nothing_is_asked():
    assert SETTINGS["browser.gatherUsageStats"] == "false"
    assert SETTINGS["server.showEmailPrompt"] == "false"
    assert SETTINGS["logger.hideWelcomeMessage"] == "true"
    assert SETTINGS["server.fileWatcherType"] == "none"


def test_every_setting_is_one_that_streamlit_has():
    from streamlit import config

    assert set(SETTINGS) <= set(config.get_config_options())


@pytest.mark.parametrize("stdin", ["<&-", "</dev/null"])
def test_the_page_is_served_without_standard_input(stdin, tmp_path):
    # A fresh home has no Streamlit credentials: this is where it would ask for an address.
    command = f"exec '{sys.executable}' -c \"{CODE}\" ui --no-browser {stdin}"
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert found, first + process.stdout.read()
        assert _answers(f"{found[0]}/_stcore/health") == "ok"
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert "Traceback" not in rest
    assert "mail" not in rest.lower()


def _answers(url: str) -> str:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return str(reply.read().decode())
        except OSError:
            time.sleep(0.2)
    return "nothing"
