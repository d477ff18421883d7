"""The studio behind a real nginx and Caddy, configured as docs/proxy.md says: at the root, in a folder, hidden."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from cognate_core.client import Client
from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus, StepMetrics
from cognate_core.runs import database_path
from cognate_core.storage.progress_log import ProgressLog
from tests.browser.studio import ROOT, RUN, Studio, free_port, listed_runs, new_context, running_studio, wait_until_idle
from tests.waiting import LONG, until

pytestmark = pytest.mark.slow

NAME = "studio.localhost"  # which a browser takes for this computer
RUN_ID = "0123456789ab"
PAGE = (ROOT / "docs" / "proxy.md").read_text()
NGINX_AT_ROOT, NGINX_IN_FOLDER = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
CADDY_AT_ROOT, CADDY_IN_FOLDER = re.findall(r"```caddy\n(.*?)```", PAGE, re.DOTALL)
NO_HEADERS = re.sub(r" +proxy_set_header .*\n", "", NGINX_AT_ROOT)
WHOLE_NGINX = """
daemon off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {server}
}}
"""
WHOLE_CADDY = """{{
	admin off
	default_sni {name}
	auto_https disable_redirects
}}
{server}
"""


def in_folder() -> str:
    """The second configuration of nginx on the page: the first, but for its lines."""
    location, prefix = NGINX_IN_FOLDER.strip().splitlines()
    text = NGINX_AT_ROOT.replace("location / {", location.strip())
    return re.sub(r"proxy_set_header X-Forwarded-Prefix .*", prefix.strip(), text)


def nginx(folder: Path, server: str, port: int) -> list[str | Path]:
    """The command of an nginx at that port, with the certificate that lies in the folder."""
    server = server.replace("443 ssl", f"127.0.0.1:{port} ssl").replace("studio.example;", f"{NAME};")
    server = re.sub(r"ssl_certificate .*;", f"ssl_certificate {folder}/own.pem;", server)
    server = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {folder}/own.key;", server)
    (folder / "nginx.conf").write_text(WHOLE_NGINX.format(folder=folder, server=server))
    return ["nginx", "-p", folder, "-c", folder / "nginx.conf"]


def caddy(folder: Path, server: str, port: int) -> list[str | Path]:
    """The same of Caddy, which would fetch a certificate."""
    own = f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/own.pem {folder}/own.key"
    (folder / "Caddyfile").write_text(WHOLE_CADDY.format(name=NAME, server=server.replace("studio.example {", own)))
    return ["caddy", "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]


Proxy = Callable[[Path, str, int], list[str | Path]]


@contextmanager
def served(folder: Path, proxy: Proxy, server: str, studio: Studio) -> Iterator[str]:
    """The address at which a proxy serves the studio."""
    if not shutil.which(proxy.__name__):
        pytest.skip(f"{proxy.__name__} is not installed; `make test-all` does it as root")
    folder.mkdir()
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={NAME}"]
    certificate += ["-addext", f"subjectAltName=DNS:{NAME}"]
    certificate += ["-keyout", f"{folder}/own.key", "-out", f"{folder}/own.pem"]
    subprocess.run(certificate, check=True, capture_output=True)
    port = free_port()
    command = proxy(folder, server.replace("8501", studio.url.rpartition(":")[2]), port)
    homes = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}  # of Caddy
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **homes}) as process,
    ):
        address = f"https://127.0.0.1:{port}"
        try:
            until(lambda: process.poll() is not None or answer(address) is not None, "that the proxy answers")
            assert process.poll() is None, (folder / "log").read_text()
            yield address.replace("127.0.0.1", NAME)
        finally:
            process.send_signal(signal.SIGTERM)


def answer(address: str, **headers: str) -> int | None:
    """The status of an answer; None when there is none."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    here = address.replace(NAME, "127.0.0.1")
    host = {"Host": address.partition("//")[2].partition("/")[0]}
    request = urllib.request.Request(here, headers={**host, **headers})
    try:
        with urllib.request.urlopen(request, timeout=LONG, context=trusting) as found:
            return int(found.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
    except OSError:
        return None


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Iterator[Studio]:
    """One that other computers ask for by a name, with a run that has a curve."""
    home = tmp_path_factory.mktemp("proxied") / "home"
    log = ProgressLog(database_path(home))
    run = log.create_run(RUN_ID, "Seen from afar", tiny_config, ["m"], home / "runs" / RUN_ID, None)
    for step in range(1, 50):
        log.record(run, StepMetrics("m", step, 6 - step / 25, 0.01, 1, 1, 100, 0.1, step / 10))
    log.claim(run)
    log.set_status(run, RunStatus.COMPLETED, step=49, total_steps=49)
    log.close()
    with running_studio(home, (*RUN, "--no-browser", "--host-name", NAME)) as studio:
        yield studio


@pytest.mark.browser
@pytest.mark.parametrize(
    ("proxy", "server", "below"),
    [
        pytest.param(nginx, NGINX_AT_ROOT, "", id="nginx, root"),
        pytest.param(nginx, in_folder(), "/studio", id="nginx, folder"),
        pytest.param(caddy, CADDY_AT_ROOT, "", id="Caddy, root"),
        pytest.param(caddy, CADDY_IN_FOLDER, "/studio", id="Caddy, folder"),
    ],
)
def test_pages_work_behind_the_documented_proxy(
    studio: Studio, chromium: Browser, tmp_path: Path, proxy: Proxy, server: str, below: str
) -> None:
    with served(tmp_path / "proxy", proxy, server, studio) as outside:
        address = outside + below
        for path in ("/", "/monitor", "/api/v1/runs", "/live?run=x", "/_stcore/stream"):
            assert answer(address + path) == 401, path
        assert answer(f"{address}/api/v1/health") == 200
        assert answer(f"{address}/api/v1/runs", **studio.shown) == 200
        if proxy is nginx:  # Caddy passes no other name on
            assert answer(f"{address}/", **studio.shown, Host="evil.example") == 403

        page = new_context(chromium, ignore_https_errors=True).new_page()
        trouble: list[str] = []
        page.goto(f"{address}/monitor?run={RUN_ID}")
        page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
        page.get_by_label("token").fill(studio.token)
        page.get_by_role("button", name="Open the studio").click()
        page.wait_for_url(f"{address}/monitor?run={RUN_ID}")
        expect(page.get_by_role("heading", name="Seen from afar")).to_be_visible()
        page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
        page.get_by_role("link", name="Home").first.click()
        wait_until_idle(page)
        with page.expect_popup() as opened:
            page.get_by_role("link", name="API").click()
        described = opened.value
        described.get_by_role("button", name="GET /v1/health").first.click()
        described.get_by_role("button", name="Try it out").click()
        with described.expect_response(f"{address}/api/v1/health") as asked:
            described.get_by_role("button", name="Execute").click()
        assert asked.value.ok
        page.goto(f"{address}/new-run")
        wait_until_idle(page)
        (cookie,) = [each for each in page.context.cookies() if each["name"].startswith("cognate_")]
        assert cookie["secure"] and cookie["httpOnly"] and cookie["path"] == (below or "/")
        assert trouble == []

        other = new_context(chromium, ignore_https_errors=True).new_page()
        with Client(studio.url, studio.token) as client:
            other.goto(client.link().replace(studio.url, address))
        other.wait_for_url(f"{address}/")
        expect(listed_runs(other)).to_have_text(["Seen from afar"])
        page.context.close()
        other.context.close()


def test_a_proxy_that_hides_lets_nobody_in(tmp_path: Path, studio: Studio) -> None:
    with served(tmp_path / "proxy", nginx, NO_HEADERS, studio) as address:
        for path in ("/", "/monitor", "/api/v1/runs", "/live?run=x"):
            assert answer(address + path) == 401, path


def test_an_open_studio_answers_no_proxy_that_shows_itself(tmp_path: Path) -> None:
    with (
        running_studio(tmp_path / "home", (*RUN, "--no-browser", "--open")) as studio,
        served(tmp_path / "proxy", nginx, NGINX_AT_ROOT.replace("$http_host", "127.0.0.1"), studio) as address,
    ):
        with urllib.request.urlopen(studio.url, timeout=LONG) as own:
            assert own.status == 200
        for path in ("/", "/monitor", "/api/v1/runs", "/live?run=x"):
            assert answer(address + path) == 403, path
