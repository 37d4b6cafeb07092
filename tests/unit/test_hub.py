"""Models on the hub: the real client, speaking to a server of the test's that keeps files as the hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import HfApi, ModelCard

from embrm import heads, load_model
from embrm.errors import DataError
from embrm.heads import FittedHead
from tests.planted import planted

REPO = "tester/head"


class Remote(ThreadingHTTPServer):
    """As much of the hub as its client needs: repositories with one branch, whose files come inside the commits."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, Any] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def sha(self, repo: str) -> str:
        return hashlib.sha1(f"{repo} {len(self.repos[repo])}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Remote

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"POST {self.path}")
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self.reply({"error": "who are you?"}, 401)
        if self.path == "/api/repos/create":
            made = json.loads(body)
            name = f"{made['organization']}/{made['name']}"
            if name in self.server.repos:
                return self.reply({"error": "exists", "url": f"{self.server.address}/{name}"}, 409)
            self.server.repos[name] = [{".gitattributes": b""}]
            self.server.private[name] = made.get("private", made.get("visibility"))
            return self.reply({"url": f"{self.server.address}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path)
        assert match, self.path
        if match[2] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for f in json.loads(body)["files"]
            ]
            return self.reply({"files": files})
        tree = dict(self.server.repos[match[1]][-1])
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                tree[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        self.server.repos[match[1]].append(tree)
        sha = self.server.sha(match[1])
        return self.reply({"commitUrl": f"{self.server.address}/{match[1]}/commit/{sha}", "commitOid": sha})

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = (api or file or [None, ""])[1]
        if repo not in self.server.repos:
            return self.reply({"error": "no repository"}, 404, X_Error_Code="RepoNotFound")
        files, sha = self.server.repos[repo][-1], self.server.sha(repo)
        if file:
            if file[3] not in files:
                return self.reply({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            raw = files[file[3]]
            etag = f'"{hashlib.sha1(raw).hexdigest()}"'
            return self.reply(raw, ETag=etag, X_Repo_Commit=sha, Content_Length=str(len(raw)))
        assert api
        if api[2] == "tree":
            return self.reply(
                [
                    {"type": "file", "path": n, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()}
                    for n, raw in files.items()
                ]
            )
        return self.reply({"id": repo, "sha": sha, "siblings": [{"rfilename": name} for name in files]})

    do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with Remote() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def model() -> FittedHead:
    return heads.get("linear")(members=2).fit(planted()[0], seed=0)


def test_a_model_goes_to_the_hub_and_comes_back(model: FittedHead, remote: Remote, tmp_path: Path) -> None:
    api = HfApi(endpoint=remote.address, token="hf_test")
    url = model.push_to_hub(REPO, private=True, license="mit", api=api)
    assert url == f"{remote.address}/{REPO}/commit/{remote.sha(REPO)}"
    assert remote.private[REPO] in (True, "private")
    files = remote.repos[REPO][-1]
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
        "probe.json",
    }
    back = heads.from_pretrained(REPO, api=api, cache_dir=tmp_path / "downloads")
    x = np.random.default_rng(0).normal(size=(5, model.width))
    np.testing.assert_array_equal(back.score(x).draws, model.score(x).draws)
    card = ModelCard(files["README.md"].decode())
    told: Any = card.data
    assert (told.library_name, told.license) == ("embrm", "mit")
    assert {"reward-model", "embrm"} <= set(told.tags or [])
    assert f'model = embrm.heads.from_pretrained("{REPO}")' in card.text
    assert "Reward head `linear`" in card.text


def test_a_second_upload_keeps_what_its_owner_wrote_into_the_card(model: FittedHead, remote: Remote) -> None:
    api = HfApi(endpoint=remote.address, token="hf_test")
    model.push_to_hub(REPO, api=api)
    assert ModelCard(remote.repos[REPO][-1]["README.md"].decode()).data.get("license") is None
    files = remote.repos[REPO][-1]
    text = files["README.md"].decode().replace("library_name: embrm", "license: cc0-1.0\nlibrary_name: other")
    remote.repos[REPO].append({**files, "README.md": text.encode()})
    model.push_to_hub(REPO, api=api)
    data = ModelCard(remote.repos[REPO][-1]["README.md"].decode()).data
    assert (data.get("license"), data.get("library_name")) == ("cc0-1.0", "embrm")


def test_the_cache_serves_without_the_hub(model: FittedHead, tmp_path: Path) -> None:
    # As the hub's client lays its cache out: a branch names a commit, whose snapshot holds the files.
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--tester--head"
    model.save(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    api = HfApi(endpoint="http://127.0.0.1:9")  # nobody listens there
    for more in ({"local_files_only": True}, {"api": api}, {"revision": commit, "local_files_only": True}):
        back = heads.from_pretrained(REPO, cache_dir=tmp_path, **more)
        np.testing.assert_array_equal(back.score(np.eye(12)).draws, model.score(np.eye(12)).draws)


def test_only_the_files_of_a_model_are_fetched(model: FittedHead, remote: Remote, tmp_path: Path) -> None:
    api = HfApi(endpoint=remote.address, token="hf_test")
    model.push_to_hub(REPO, api=api)
    remote.repos[REPO].append({**remote.repos[REPO][-1], "evil.pkl": b"x", "deep/config.json": b"x"})
    remote.asked.clear()
    heads.from_pretrained(REPO, api=api, cache_dir=tmp_path / "downloads")
    fetched = {line.partition("/resolve/")[2].partition("/")[2] for line in remote.asked if "/resolve/" in line}
    assert fetched == {"README.md", "config.json", "manifest.json", "model.safetensors", "probe.json"}


def test_what_cannot_be_had(remote: Remote, tmp_path: Path) -> None:
    api = HfApi(endpoint=remote.address, token="hf_test")
    with pytest.raises(DataError, match=r"no/such cannot be had from the hub: .*404.*; check the name and the network"):
        heads.from_pretrained("no/such", api=api, cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"no/such cannot be had from the hub: .*; .*embrm\.load_model"):
        heads.from_pretrained("no/such", local_files_only=True, cache_dir=tmp_path)
    with pytest.raises(DataError, match="a/b/c cannot be had from the hub: Repo id must"):
        heads.from_pretrained("a/b/c", api=api, cache_dir=tmp_path)
    remote.repos["some/thing"] = [{"config.json": b"{}", "README.md": b"# Something else"}]
    with pytest.raises(DataError, match="is not a saved model"):
        heads.from_pretrained("some/thing", api=api, cache_dir=tmp_path)


def test_a_changed_file_is_refused(model: FittedHead, remote: Remote, tmp_path: Path) -> None:
    api = HfApi(endpoint=remote.address, token="hf_test")
    model.push_to_hub(REPO, api=api)
    tensors = bytearray(remote.repos[REPO][-1]["model.safetensors"])
    tensors[-1] ^= 1
    remote.repos[REPO][-1]["model.safetensors"] = bytes(tensors)
    with pytest.raises(DataError, match="is not the file that was saved"):
        heads.from_pretrained(REPO, api=api, cache_dir=tmp_path)


def test_what_cannot_be_uploaded(model: FittedHead, remote: Remote) -> None:
    for api, repo in (
        (HfApi(endpoint=remote.address, token="hf_wrong"), REPO),
        (HfApi(endpoint="http://127.0.0.1:9", token="hf_test"), REPO),
        (HfApi(endpoint=remote.address, token="hf_test"), "a/b/c"),
    ):
        with pytest.raises(
            DataError, match=rf"the model cannot be uploaded to {repo}: .*; check the name \(owner/name\)"
        ):
            model.push_to_hub(repo, api=api)
    assert not remote.repos


def test_the_saved_card_is_one_that_the_hub_reads(model: FittedHead, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.library_name == "embrm"
    assert load_model(tmp_path / "model").head == model.head
