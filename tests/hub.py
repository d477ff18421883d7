"""A stand-in for the Hugging Face hub that a model is published on: a real HTTP server, for the real client.

It speaks what the client asks: a repository is made, its description looked at, large files go through LFS (in one
piece or in parts), and one commit names them all. What goes wrong is chosen by the name of the
repository.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

TOKEN = "hf_StandInTokenThatMayBeSeenNowhere"
COMMIT = "a" * 40
PART_BYTES = 10_000  # of a large file that is asked for in parts


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def do_PUT(self) -> None:
        self._answer(self._body())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: bytes) -> None:
        path, hub = urlparse(self.path).path, self.server
        hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[0] == "lfs":
            self._store(parts, body)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid username or password."})
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            owner, name = wanted.get("organization") or "ada", wanted["name"]
            if name.startswith("create-"):
                self._send(int(name.removeprefix("create-")), {"error": f"No, {TOKEN}"})
            elif f"{owner}/{name}" in hub.private:
                self._send(
                    409, {"error": "You already created this model repo", "url": f"{hub.address}/{owner}/{name}"}
                )
            else:
                hub.private[f"{owner}/{name}"] = wanted["visibility"] == "private"
                self._send(200, {"url": f"{hub.address}/{owner}/{name}"})
        elif path.endswith("/info/lfs/objects/batch"):
            self._plan("/".join(parts[:2]).removesuffix(".git"), json.loads(body))
        else:
            self._of_repository("/".join(parts[2:4]), parts[4:], body)

    def _of_repository(self, repo: str, what: list[str], body: bytes) -> None:
        hub, name = self.server, repo.partition("/")[2]
        if repo not in hub.private:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif not what:
            self._send(200, {"id": repo, "modelId": repo, "private": hub.private[repo], "tags": [], "siblings": []})
        elif what[0] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in json.loads(body)["files"]
            ]
            self._send(200, {"files": [{**file, "shouldIgnore": False} for file in files]})
        elif what[0] == "commit" and name.startswith("commit-"):
            self._send(int(name.removeprefix("commit-")), {"error": f"No, {TOKEN}"})
        elif what[0] == "commit":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[repo, value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[repo, value["path"]] = hub.objects[value["oid"]]
            hub.commits.append(repo)
            self._send(200, {"commitOid": COMMIT, "commitUrl": f"{hub.address}/{repo}/commit/{COMMIT}"})
        else:
            self._send(404, {"error": "?"})

    def _plan(self, repo: str, batch: dict[str, Any]) -> None:
        """How each large file is to be sent."""
        found = []
        for each in batch["objects"]:
            href, header = f"{self.server.address}/lfs/{each['oid']}", {}
            if repo.endswith("/in-parts"):
                count = -(-each["size"] // PART_BYTES)
                header = {"chunk_size": str(PART_BYTES)} | {str(n): f"{href}/{n}" for n in range(1, count + 1)}
            found.append({**each, "actions": {"upload": {"href": href, "header": header}}})
        self._send(200, {"transfer": "basic", "objects": found})

    def _store(self, parts: list[str], body: bytes) -> None:
        hub, oid = self.server, parts[1]
        if self.headers.get("Authorization"):
            hub.leaks.append(self.path)  # the store is another company's computer
        if hub.store_status != 200:
            self._send(hub.store_status, {})
            return
        if len(parts) == 3:
            hub.parts[oid, int(parts[2])] = body
        elif self.command == "PUT":
            hub.objects[oid] = body
        else:
            numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
            hub.objects[oid] = b"".join(hub.parts[oid, number] for number in numbers)
        self._send(200, {}, {"ETag": '"1"'})

    def _send(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class HubServer(ThreadingHTTPServer):
    """What it was sent: `files` by (repository, path), and the repositories with whether each is private."""

    daemon_threads = True

    def __init__(self) -> None:
        self.private: dict[str, bool] = {"ada/public": False}
        self.files: dict[tuple[str, str], bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.store_status = 200  # what the store of large files answers
        self.asked: list[str] = []
        self.commits: list[str] = []
        self.leaks: list[str] = []
        super().__init__(("127.0.0.1", 0), _Hub)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def publishing_hub() -> Iterator[HubServer]:
    """A hub for the time of the block."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
