"""A hub on loopback that behaves as the Hugging Face Hub does for models, and misbehaves on request."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repositories:
    """files: repository -> path -> bytes.  wrong: paths that come with other bytes of the same length.  status: repository or path ->
    HTTP status.  cut: path -> bytes after which the connection ends, once.  requests: (method, path, range)."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""
    revision: str = REVISION  # of every repository's main

    def downloads(self) -> list[tuple[str, str | None]]:
        return [
            (path.rpartition("/")[2], what)
            for method, path, what in self.requests
            if method == "GET" and "/resolve/" in path
        ]


@contextlib.contextmanager
def hub_double() -> Iterator[Repositories]:
    repositories = Repositories()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer(False)

        def do_GET(self):
            self._answer(True)

        def _answer(self, body: bool) -> None:
            repositories.requests.append((self.command, self.path, self.headers.get("Range")))
            path = self.path.partition("?")[0]
            listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            match = listing or file
            if match is None or match[1] not in repositories.files:
                return self._fail(
                    repositories.status.get(match[1], 404) if match else 404, "RepoNotFound" if match else None
                )
            if listing and match[1] in repositories.status:
                return self._fail(
                    repositories.status[match[1]], "GatedRepo" if repositories.status[match[1]] == 403 else None
                )
            if listing:
                return self._listing(match[1])
            return self._file(match[1], match[3], body)

        def _listing(self, repository: str) -> None:
            rows = []
            for name, data in repositories.files[repository].items():
                row = {
                    "rfilename": name,
                    "size": len(data),
                    "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                }
                if _is_large(name):
                    row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                rows.append(row)
            text = json.dumps({"id": repository, "sha": repositories.revision, "siblings": rows}).encode()
            self._send(200, text, {"Content-Type": "application/json"})

        def _file(self, repository: str, name: str, body: bool) -> None:
            if name in repositories.status:
                return self._fail(repositories.status[name], None)
            if name not in repositories.files[repository]:
                return self._fail(404, "EntryNotFound")
            data = repositories.files[repository][name]
            tag = (
                hashlib.sha256(data).hexdigest()
                if _is_large(name)
                else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            )
            if name in repositories.wrong:
                data = data[:-1] + bytes([data[-1] ^ 1])
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": repositories.revision, "Accept-Ranges": "bytes"}
            start = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range") or "")
            at = int(start[1]) if start else 0
            if start:
                headers["Content-Range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
            self._send(
                206 if start else 200, data[at:], headers, body, repositories.cut.pop(name, None) if body else None
            )

        def _fail(self, status: int, code: str | None) -> None:
            headers = {"X-Error-Code": code} if code else {}
            self._send(status, b"{}", headers | ({"Retry-After": "7"} if status == 429 else {}))

        def _send(
            self, status: int, data: bytes, headers: dict[str, str], body: bool = True, cut: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body and self.command == "GET":
                self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    repositories.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield repositories
    finally:
        server.shutdown()
        server.server_close()


def _is_large(name: str) -> bool:
    return name.endswith((".gguf", ".safetensors"))
