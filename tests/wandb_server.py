"""A stand-in for the W&B server on this machine, which remembers what the real client sends.

It answers the client's GraphQL operations as W&B does where the client goes on, and keeps everything else as bytes.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

ENTITY = "somebody"


@dataclass
class SentRun:
    """What came of one run.

    Attributes:
        fields: Variables of its UpsertBucket: displayName, groupName, jobType, tags, …
        history: Rows, in the order in which they were logged.
        summary: The summary.
        files: Uploaded files by name.
        exit_code: Null until it is finished.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, without what the client adds on its own."""
        return {k: v["value"] for k, v in json.loads(self.fields["config"]).items() if k != "_wandb"}

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The declared metrics, as the client encodes them."""
        metrics: list[dict[str, Any]] = json.loads(self.fields["config"])["_wandb"]["value"]["m"]
        return metrics


@dataclass
class SentArtifact:
    """What came of one artifact: the variables of its creation, and its files by name."""

    fields: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


class _QuietServer(ThreadingHTTPServer):
    """A server that lets the client hang up, as it does when it ends."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class WandbServer:
    """The stand-in, as a context manager.

    Attributes:
        runs: What came, by run.
        artifacts: What came, by artifact.
        views: Variables of every saved view.
        received: Every path and body that came, in order.
        operations: The GraphQL operations among them.
    """

    def __init__(self, silent_from: str | None = None, dies_at: str | None = None) -> None:
        """Makes a server, which can misbehave.

        Args:
            silent_from: Operation or path from which on nothing is answered any more.
            dies_at: Operation or path at which the server is gone.
        """
        self.runs: dict[str, SentRun] = defaultdict(SentRun)
        self.artifacts: dict[str, SentArtifact] = {}
        self.views: list[dict[str, Any]] = []
        self.received: list[tuple[str, bytes]] = []
        self.operations: list[str] = []
        self._silent_from, self._dies_at, self._is_silent, self._is_dead = silent_from, dies_at, False, False
        self._closing = threading.Event()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: bytes) -> dict[str, Any] | None:
        """Returns the answer to a request; None where there is none, for the server is dead."""
        self.received.append((path, body))
        content = json.loads(body) if path == "/graphql" or path.endswith("/file_stream") else {}
        operation = path
        if path == "/graphql":
            found = re.search(r"(?:query|mutation)\s+(\w+)", content["query"])
            operation = found.group(1) if found else "unnamed"
            self.operations.append(operation)
        self._is_silent |= self._silent_from is not None and self._silent_from in operation
        self._is_dead |= self._dies_at is not None and self._dies_at in operation
        if self._is_silent:
            self._closing.wait()
        if self._is_dead or self._is_silent:
            return None
        if path == "/graphql":
            answers = self._answers()
            return {"data": answers[operation](content.get("variables") or {})}
        if path.endswith("/file_stream"):
            self._take_stream(path.split("/")[-2], content)
        elif path.startswith("/storage/"):
            self._take_file(path, body)
        return {}

    def _answers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        me = {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []}}
        return {
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "Viewer": lambda _: {"viewer": me},
            "ArtifactType": lambda _: {"project": {"artifact": None}},
            "UpsertBucket": self._upsert_run,
            "CreateRunFiles": self._create_run_files,
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": lambda v: {"createArtifactManifest": self._manifest(v["artifactID"])},
            "UpdateArtifactManifest": lambda v: {"updateArtifactManifest": self._manifest(v["artifactManifestID"])},
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": lambda v: {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": ""}}},
            "UpsertView2": self._upsert_view,
        }

    def _upsert_run(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[variables["name"]]
        run.fields |= {k: v for k, v in variables.items() if v is not None}
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
        bucket = {
            "id": variables["name"], "name": variables["name"], "displayName": run.fields["displayName"],
            "description": "", "config": "{}", "sweepName": None, "project": project, "historyLineCount": 0,
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/runs/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _create_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["input"]["artifactCollectionName"]
        self.artifacts.setdefault(name, SentArtifact(variables["input"]))
        sequence = {"id": f"sequence-{name}", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": name, "state": "PENDING", "artifactSequence": sequence}}}

    def _manifest(self, artifact: str) -> dict[str, Any]:
        url = f"{self.url}/storage/artifacts/{artifact}/manifest"
        return {"artifactManifest": {"id": artifact, "file": {"id": "f", "uploadUrl": url, "uploadHeaders": []}}}

    def _create_artifact_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        def node(spec: dict[str, Any]) -> dict[str, Any]:
            artifact, name = spec["artifactID"], spec["name"]
            url = f"{self.url}/storage/artifacts/{artifact}/{name}"
            return {
                "storagePath": name, "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None,
                "artifact": {"id": artifact},
            }  # fmt: skip

        specs = variables["input"]["artifactFiles"]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node(spec)} for spec in specs]}}}

    def _upsert_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.views.append(variables)
        return {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}

    def _take_stream(self, run_id: str, content: dict[str, Any]) -> None:
        run, files = self.runs[run_id], content.get("files") or {}
        for line in files.get("wandb-history.jsonl", {}).get("content", []):
            run.history.append(json.loads(line))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            run.summary = json.loads(line)
        if content.get("complete"):
            run.exit_code = content["exitcode"]

    def _take_file(self, path: str, body: bytes) -> None:
        kind, owner, name = unquote(path).removeprefix("/storage/").split("/", 2)
        (self.runs[owner] if kind == "runs" else self.artifacts[owner]).files[name] = body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = server.answer(self.path, body)
                if answer is None:
                    self.close_connection = True
                    return
                text = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_PUT = do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
