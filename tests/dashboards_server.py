"""What answers as Kibana's or OpenSearch Dashboards' import of saved objects does, on loopback."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.certificates import Pair

KIBANA, OPENSEARCH = "kibana", "opensearch-dashboards"
NEWEST = {
    KIBANA: dict.fromkeys(("dashboard", "visualization", "search", "index-pattern"), (8, 19, 0)),
    OPENSEARCH: {
        "dashboard": (7, 9, 3),
        "visualization": (7, 10, 0),
        "search": (7, 9, 3),
        "index-pattern": (7, 6, 0),
    },
}


class Tool:
    """One of the two. What was imported is in `objects`, by space or tenant and id."""

    def __init__(
        self,
        kind: str,
        *,
        version: str | None = None,
        pair: Pair | None = None,
        authorization: str | None = None,
        tells: bool = True,
    ) -> None:
        self.kind = kind
        self.version = version or {KIBANA: "8.19.0", OPENSEARCH: "2.19.1"}[kind]
        self.authorization = authorization
        self.tells = tells  # its own header, which a proxy may drop
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.broken: set[str] = set()
        self.spaces = {"default"}
        self.says: tuple[int, dict[str, str], bytes] | None = None  # to everything
        self.asked = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        scheme = "http"
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.cert, pair.key)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def status(self) -> dict[str, Any]:
        return {"name": "here", "version": {"number": self.version}, "status": {}}

    def take(self, space: str, overwrite: bool, lines: bytes) -> dict[str, Any]:
        """Its answer to the file, object by object."""
        objects = [json.loads(line) for line in lines.splitlines() if line.strip()]
        there = {(one["type"], one["id"]) for one in objects}
        good, errors = [], []
        for one in objects:
            error = self._error(space, overwrite, one, there)
            if error is None:
                good.append({"type": one["type"], "id": one["id"]})
                self.objects[space, one["id"]] = one
            else:
                errors.append({"type": one["type"], "id": one["id"], "error": error})
        answer = {"success": not errors, "successCount": len(good), "successResults": good}
        return answer | ({"errors": errors} if errors else {})

    def _error(
        self, space: str, overwrite: bool, one: dict[str, Any], there: set[tuple[str, str]]
    ) -> dict[str, Any] | None:
        version = tuple(int(part) for part in one["migrationVersion"][one["type"]].split("."))
        missing = [
            {"type": reference["type"], "id": reference["id"]}
            for reference in one["references"]
            if (reference["type"], reference["id"]) not in there
        ]
        if version > NEWEST[self.kind][one["type"]]:
            return {"type": "unknown", "message": "belongs to a more recent version"}
        if one["id"] in self.broken:
            return {"type": "unknown", "message": "mapper_parsing_exception", "statusCode": 400}
        if missing:
            return {"type": "missing_references", "references": missing}
        if (space, one["id"]) in self.objects and not overwrite:
            return {"type": "conflict"}
        return None


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _handler(tool: Tool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._turned_away():
                return None
            if self.path != "/api/status":
                return self._say(404, {"statusCode": 404, "message": "Not Found"})
            return self._say(200, tool.status())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self._turned_away():
                return None
            path = urlsplit(self.path)
            space, rest = self._space(path.path)
            xsrf = "kbn-xsrf" if tool.kind == KIBANA else "osd-xsrf"
            if xsrf not in self.headers:
                return self._say(400, {"message": f"Request must contain a {xsrf} header."})
            if rest != "/api/saved_objects/_import" or (
                tool.kind == KIBANA and space not in tool.spaces
            ):
                return self._say(404, {"message": "Not Found"})
            name, lines = _file(self.headers["Content-Type"], body)
            if not name.endswith(".ndjson"):
                return self._say(400, {"message": "Invalid file extension"})
            overwrite = parse_qs(path.query).get("overwrite") == ["true"]
            return self._say(200, tool.take(space, overwrite, lines))

        def _space(self, path: str) -> tuple[str, str]:
            if tool.kind == OPENSEARCH:
                return self.headers.get("securitytenant", "default"), path
            if not path.startswith("/s/"):
                return "default", path
            space, _, rest = path.removeprefix("/s/").partition("/")
            return space, f"/{rest}"

        def _turned_away(self) -> bool:
            tool.asked += 1
            if tool.says is not None:
                status, headers, body = tool.says
                self._send(status, headers, body)
            elif tool.authorization not in (None, self.headers.get("Authorization")):
                self._say(401, {"statusCode": 401, "message": "Unauthorized"})
            else:
                return False
            return True

        def _say(self, status: int, answer: dict[str, Any]) -> None:
            self._send(status, {"Content-Type": "application/json"}, json.dumps(answer).encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            own = {"kbn-name": "here"} if tool.kind == KIBANA else {"osd-name": "here"}
            for name, value in (headers | (own if tool.tells else {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _file(kind: str, body: bytes) -> tuple[str, bytes]:
    """Name and content of the one file of a form."""
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts = [
        part
        for part in form.iter_parts()
        if part.get_param("name", header="Content-Disposition") == "file"
    ]
    assert len(parts) == 1, "one file is expected"
    return str(parts[0].get_filename()), parts[0].get_payload(decode=True)
