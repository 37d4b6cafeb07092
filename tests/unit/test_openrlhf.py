"""The rewards that OpenRLHF asks for: what is taken off its texts, its function, and the server under bad clients."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

import embrm
from embrm import embedders, heads, read_pairs, selectors
from embrm.core.data import Provenance
from embrm.data.faults import RowRules
from embrm.data.texts import read_texts
from embrm.embedders import Embedded, Embedder
from embrm.errors import DataError, MissingExtraError, OptionError
from embrm.heads import FittedHead
from embrm.integrations import openrlhf
from embrm.integrations._chat import split
from embrm.integrations._scorer import TextScorer
from embrm.serving import body as bodies
from embrm.serving import protocol
from embrm.serving.access import Access
from embrm.serving.counters import Counters

CHATML = "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class Counting(Embedder):
    """The hashing embedder, with a record of every call."""

    calls: list[list[str]] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    seconds: float = 0.0
    identity = "hashing dimension=64"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        self.calls.append(list(texts))
        time.sleep(self.seconds)
        if self.broken:
            raise self.broken[0]
        return embedders.get("hashing")(dimension=64).embed(texts)


@dataclass(frozen=True)
class Cutting(Embedder):
    """The hashing embedder, which says of some texts that they are longer than it reads."""

    identity = "hashing dimension=64"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        found = embedders.get("hashing")(dimension=64).embed(texts)
        return replace(found, cut=np.array(["long" in text for text in texts]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FittedHead:
    file = tmp_path_factory.mktemp("pairs") / "prefs.jsonl"
    rows = [
        {"prompt": f"How do I mend lamp {i // 2}?", "chosen": f"Turn it off, step {i}.", "rejected": f"Never mind {i}."}
        for i in range(40)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = read_pairs(file, embedder=embedders.get("hashing")(dimension=64))
    return heads.get("linear")(members=3).fit(pairs, seed=0)


@pytest.fixture
def address(model: FittedHead) -> Iterator[str]:
    server = openrlhf.reward_server(model, port=0, limits=openrlhf.ServerLimits(texts=8, size=4096))
    with server.running() as address:
        yield address


def expected(model: FittedHead, texts: list[tuple[str, str]]) -> np.ndarray:
    embedder = embedders.get("hashing")(dimension=64)
    return model.score(embedder.embed([f"{p}\n\n{r}" for p, r in texts]).vectors).centred().draws


def send(
    address: str, body: Any, *, path: str = "/get_reward", method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any]]:
    """Speak to the server as a client without any library would."""
    host = address.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=30)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, raw, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "application/json"
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content)


SYSTEM = "<|im_start|>system\nBe brief.<|im_end|>\n"
SEQUENCES = {
    "chatml": (CHATML, "So.<|im_end|><|endoftext|><|endoftext|>"),
    "system": (SYSTEM + CHATML, "So.<|im_end|>"),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHow?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "So.<|eot_id|>",
    ),
    "llama2": ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHow? [/INST]", " So. </s></s>"),
    "gemma": ("<bos><start_of_turn>user\nHow?<end_of_turn>\n<start_of_turn>model\n", "So.<end_of_turn>\n<eos>"),
    "zephyr": ("<|user|>\nHow?</s>\n<|assistant|>\n", "So.</s>"),
    "deepseek": ("<｜begin▁of▁sentence｜><｜User｜>How?<｜Assistant｜>", "So.<｜end▁of▁sentence｜>"),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_templates_are_taken_off(name: str) -> None:
    prompt, response = SEQUENCES[name]
    for given in (prompt, None, "How?", prompt.replace("<s>", "")):
        assert split(prompt + response, given) == ("How?", "So.")


@pytest.mark.parametrize(
    ("query", "prompt", "parts"),
    [
        ("How? So.", "How?", ("How?", "So.")),
        ("<s> How? So.</s>", "How?", ("How?", "So.")),
        ("Just text.", None, ("", "Just text.")),
        ("<s><s>How? So.", "<s> How?", ("How?", "So.")),
        (CHATML, CHATML, ("How?", "")),
        ("a <s>b</s> c</s>", "", ("", "a <s>b</s> c")),
        ("cut from the left<|im_end|>\n<|im_start|>assistant\nSo.", "A long prompt\n" + CHATML, ("How?", "So.")),
        (CHATML + "So.<|im_end|>\n<|im_start|>user\nThanks", CHATML, ("How?", "assistant: So.\n\nuser: Thanks")),
    ],
)
def test_other_sequences(query: str, prompt: str | None, parts: tuple[str, str]) -> None:
    assert split(query, prompt) == parts


def test_a_query_that_has_nothing_of_its_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="does not begin with its prompt, and no assistant header"):
        split("So.", "How?")


@pytest.mark.parametrize("run", [" ", "\n", "</s>", "<|im_start|>", "<|start_header_id|>", "<|", "<s> "])
def test_a_long_run_of_anything_is_read_once(run: str) -> None:
    sequence = "a" + run * 10_000 + "b"
    start = time.process_time()
    split(sequence + sequence, sequence)
    split(sequence)
    assert time.process_time() - start < 3  # a second look at each place takes minutes


def test_prompts_of_several_messages_read_as_they_do_from_files(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "How?"), ("assistant", "How what?"), ("user", "Mend it.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    row = {"prompt": messages, "response": [{"role": "assistant", "content": "So."}]}
    (tmp_path / "texts.jsonl").write_text(json.dumps(row))
    texts = read_texts(tmp_path / "texts.jsonl", rules=RowRules(keep_system=True))
    prompt = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    prompt += "<|im_start|>assistant\n"
    assert split(f"{prompt}So.<|im_end|>", prompt, keep_system=True) == (texts.prompts[0], texts.responses[0])
    bare = split(f"{prompt}So.<|im_end|>", prompt)[0]
    assert bare == read_texts(tmp_path / "texts.jsonl").prompts[0]
    assert bare == "user: How?\n\nassistant: How what?\n\nuser: Mend it."


def test_the_function_gives_what_the_model_gives(model: FittedHead) -> None:
    function = openrlhf.make_reward_func(model)
    answers = ["Turn it off.", "Never mind.", ""]
    found = function([f"{CHATML}{a}<|im_end|>" for a in answers], [CHATML] * 3, ["", "", ""], extra=1)
    draws = expected(model, [("How?", a) for a in answers])
    for tensor in (found["rewards"], found["scores"], found["extra_logs"]["uncertainty"]):
        assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(found["rewards"], draws.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["scores"], expit(draws).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["extra_logs"]["uncertainty"], draws.std(axis=0), rtol=1e-5)
    assert found["extra_logs"]["truncated"].tolist() == [0, 0, 0]
    worst = openrlhf.make_reward_func(model, rule=selectors.get("worst_case")())
    np.testing.assert_allclose(worst([f"How?{a}" for a in answers], ["How?"] * 3)["rewards"], draws.min(axis=0))


def load_as_openrlhf_does(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("reward_func", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


def test_the_function_is_loaded_by_path(model: FittedHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save(tmp_path / "model")
    monkeypatch.setenv("EMBRM_MODEL", str(tmp_path / "model"))
    made = tmp_path / "reward_func.py"
    made.write_text(
        "from embrm.integrations.openrlhf import make_reward_func\n"
        f"reward_func = make_reward_func({str(tmp_path / 'model')!r})\n"
    )
    want = expected(model, [("How?", "So.")]).mean(axis=0)
    for path in (openrlhf.__file__, str(made)):
        function = load_as_openrlhf_does(path)
        with ThreadPoolExecutor(8) as pool:  # OpenRLHF hands each sample to a thread
            found = list(pool.map(lambda _, f=function: f(["How? So."], ["How?"], [None])["rewards"], range(16)))
        np.testing.assert_allclose(torch.stack(found)[:, 0], np.repeat(want, 16), rtol=1e-4)


def test_the_function_needs_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBRM_MODEL", raising=False)
    with pytest.raises(OptionError, match="set the environment variable EMBRM_MODEL"):
        openrlhf.reward_func(["a"], ["a"])


def test_what_a_trainer_should_not_pass(model: FittedHead) -> None:
    function = openrlhf.make_reward_func(model)
    with pytest.raises(DataError, match="query 0: query must be a list of texts, but number 0 is NoneType"):
        function([None], None, None)
    with pytest.raises(DataError, match="queries must be a list of at least one text, got NoneType"):
        function(None, None, None)
    with pytest.raises(DataError, match="prompts must be a list of texts, but number 0 is NoneType"):
        function(["a"], [None], None)
    with pytest.raises(DataError, match="prompts must be as many as queries, got 2 and 1"):
        function(["a"], ["a", "b"], None)
    assert function(["a"], None, None)["rewards"].shape == (1,)


def test_what_a_trainer_cannot_use_is_refused(model: FittedHead) -> None:
    with pytest.raises(OptionError, match="'thompson' does not value a text by itself"):
        TextScorer(model, rule=selectors.get("thompson")())
    with pytest.raises(OptionError, match="does not say what embedded"):
        TextScorer(replace(model, embedder=Provenance()))
    with pytest.raises(DataError, match="trained on vectors of 'hashing dimension=64'"):
        TextScorer(model, embedder=embedders.get("hashing")(dimension=32))
    other = replace(model, head=replace(model.head, view="image"))
    with pytest.raises(OptionError, match="no view 'image'; texts can be embedded as joint"):
        TextScorer(other)


def test_texts_of_all_who_wait_are_embedded_together_and_once(model: FittedHead) -> None:
    embedder = Counting(seconds=0.2)
    scorer = TextScorer(model, embedder=embedder)
    embedder.calls.clear()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: scorer([f"answer {i % 4}", "same"], ["How?", "How?"]), range(16)))
    assert len(embedder.calls) < 8  # the first alone, the others in a few goes
    for texts in embedder.calls:
        assert len(texts) == len(set(texts))
    draws = expected(model, [("How?", f"answer {i}") for i in range(4)] + [("How?", "same")]).mean(axis=0)
    for i, scored in enumerate(found):
        np.testing.assert_allclose(scored.reward, draws[[i % 4, 4]], rtol=1e-5)


def test_who_waits_hears_of_a_failure_and_the_next_call_works(model: FittedHead) -> None:
    embedder = Counting(seconds=0.05)
    scorer = TextScorer(model, embedder=embedder)
    embedder.broken.append(MemoryError("no memory"))

    def call(i: int) -> str:
        with pytest.raises(MemoryError) as caught:
            scorer([f"answer {i}"], ["How?"])
        return str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(8))) == {"no memory"}
    embedder.broken.clear()
    assert len(scorer(["answer"], ["How?"]).reward) == 1


def test_the_server_speaks_openrlhf(model: FittedHead, address: str) -> None:
    queries = [f"{CHATML}{a}<|im_end|>" for a in ("Turn it off.", "Never mind.")]
    status, found = send(address, {"query": queries, "prompts": [CHATML, CHATML], "labels": ["x", None]})
    draws = expected(model, [("How?", "Turn it off."), ("How?", "Never mind.")])
    assert status == 200
    assert set(found) == {"rewards", "scores", "extra_logs"}
    np.testing.assert_allclose(found["rewards"], draws.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["scores"], expit(draws).mean(axis=0), rtol=1e-6)
    assert found["extra_logs"]["truncated"] == [0, 0]
    assert send(address, {"query": queries})[1] == found  # clients before prompts and labels were sent
    assert send(address, {"query": queries, "prompts": None}, path="/get_reward/")[1] == found


def test_a_bad_sample_spoils_no_other(model: FittedHead, address: str) -> None:
    good, other = f"{CHATML}Turn it off.<|im_end|>", f"{CHATML}Never mind.<|im_end|>"
    queries = [good, "So.", None, "\ud800", other]
    prompts = [CHATML, "A question that the query has nothing of.", CHATML, "\ud800", CHATML]
    status, found = send(address, {"query": queries, "prompts": prompts})
    assert status == 200
    draws = expected(model, [("How?", "Turn it off."), ("How?", "Never mind.")])
    for name, values in (("rewards", draws.mean(0)), ("scores", expit(draws).mean(0)), ("uncertainty", draws.std(0))):
        column = {**found, **found["extra_logs"]}[name]
        assert column[1:4] == [None] * 3
        np.testing.assert_allclose([column[0], column[4]], values, rtol=1e-6)
    assert found["extra_logs"]["truncated"] == [0, None, None, None, 0]
    assert [found["errors"][0], found["errors"][4]] == [None, None]
    for row, message in ((1, "does not begin with its prompt"), (2, "number 2 is NoneType"), (3, "surrogate pair")):
        assert message in found["errors"][row]
    function = openrlhf.make_reward_func(model)(queries, prompts)
    assert function["errors"] == found["errors"]
    np.testing.assert_allclose(function["rewards"], np.array(found["rewards"], float), rtol=1e-5)  # None is NaN
    np.testing.assert_array_equal(function["extra_logs"]["truncated"], [0, np.nan, np.nan, np.nan, 0])


@pytest.mark.parametrize(
    "prompt", [CHATML, "How?", [{"role": "user", "content": "How?"}]], ids=["chat", "text", "list"]
)
def test_the_server_speaks_slime(prompt: Any, model: FittedHead, address: str) -> None:
    status, answer = send(address, {"prompt": prompt, "response": "Turn it off.<|im_end|>", "label": None})
    # slime takes the whole answer for the reward.
    assert status == 200
    assert float(str(answer)) == pytest.approx(expected(model, [("How?", "Turn it off.")]).mean(), rel=1e-6)


BAD: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "not JSON in UTF-8: Expecting property name"),
    "no UTF-8": (b'{"query": ["\xff"]}', 400, "not JSON in UTF-8"),
    "empty": (b"", 400, "not JSON"),
    "deep": (b"[" * 4000, 400, "not JSON"),
    "list": ([1], 400, "must be an object"),
    "no query": ({"prompts": ["a"]}, 400, "query must be a list of at least one text, got NoneType"),
    "no texts": ({"query": []}, 400, "query must be a list of at least one text"),
    "text": ({"query": "a"}, 400, "query must be a list of at least one text, got str"),
    "number": ({"query": [1]}, 400, "query must be a list of texts, but number 0 is int"),
    "nothing to score": ({"query": [1, 2, 3, 4, 5]}, 400, "number 2 is int; and 2 more"),
    "another form": (
        {"queries": ["a"]},
        400,
        'slime {"prompt": text, "response": text, "label": …}; found: \'queries\'',
    ),
    "no form": ({}, 400, "found: nothing"),
    "response alone": ({"response": "a"}, 400, 'a request with a response needs its prompt; OpenRLHF sends {"query"'),
    "responses": ({"prompt": "a", "response": ["b"]}, 400, "response must be text, got list; OpenRLHF sends"),
    "a prompt of numbers": ({"prompt": 1, "response": "b"}, 400, "prompt must be text or a list of messages, got 1"),
    "null": ({"query": [None]}, 400, "number 0 is NoneType"),
    "fewer prompts": ({"query": ["a", "b"], "prompts": ["a"]}, 400, "prompts must be as many as queries, got 1 and 2"),
    "prompts of numbers": ({"query": ["a"], "prompts": [1]}, 400, "prompts must be a list of texts"),
    "other prompt": ({"query": ["a"], "prompts": ["b"]}, 400, "query 0: the query does not begin with its prompt"),
    "half a character": (b'{"query": ["\\ud800"]}', 400, "half of a surrogate pair"),
    "too many": ({"query": ["a"] * 9}, 413, "query has 9 texts, and at most 8 are scored; split"),
    "too large": ({"query": ["a" * 5000]}, 413, "at most 4096 are read"),
    "huge": (b" " * (64 << 20), 413, "the body has 67108864 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_have_clear_answers(name: str, address: str) -> None:
    body, status, message = BAD[name]
    answer = send(address, body)
    assert answer[0] == status
    assert message in answer[1]["error"]
    assert send(address, {"query": ["a"]})[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/get_reward", 405, "/get_reward takes POST, got GET"),
        ("PUT", "/get_reward", 405, "takes POST"),
        ("BREW", "/get_reward", 405, "takes POST, got BREW"),
        ("POST", "/", 404, "rewards are at POST /get_reward"),
        ("POST", "/metrics", 404, "GET takes /, /health, /metrics"),
        ("GET", "/../etc/passwd", 404, "there is nothing here"),
    ],
)
def test_other_methods_and_paths(method: str, path: str, status: int, message: str, address: str) -> None:
    answer = send(address, {"query": ["a"]}, method=method, path=path)
    assert answer[0] == status
    assert message in answer[1]["error"]


def test_a_body_must_be_declared_as_json_with_its_length(address: str) -> None:
    assert send(address, {"query": ["a"]}, **{"Content-Type": "text/plain"})[0] == 415
    assert raw(address, HEAD.replace(b"Content-Length: %b\r\n", b""))[0] == 411
    for length in (b"-5", b"1e3", b"x", b"\xb2", b"9" * 5000, b"1\r\nContent-Length: 2"):
        assert raw(address, HEAD % length)[0] == 400
    assert raw(address, HEAD % (b"9" * 20))[0] == 413


HEAD = b"POST /get_reward HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %b\r\n\r\n"
CHUNKED = HEAD.replace(b"Content-Length: %b", b"Transfer-Encoding: chunked")


def test_bodies_in_chunks_are_read_up_to_the_limit(address: str) -> None:
    whole = b'{"query": ["answer"]}'
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (whole[:5], whole[5:]))
    status, found = raw(address, CHUNKED + pieces + b"0\r\n\r\n")
    assert (status, len(found["rewards"])) == (200, 1)
    status, found = raw(address, CHUNKED + (b"1000\r\n" + b" " * 4096 + b"\r\n") * 50)
    assert (status, "more than 4096 bytes" in found["error"]) == (413, True)
    assert raw(address, CHUNKED + b"0\r\n\r\n")[0] == 400
    assert raw(address, CHUNKED + b"nonsense\r\n")[0] == 400


def test_requests_one_behind_another_are_answered_in_their_order(address: str) -> None:
    bodies = [json.dumps({"query": [f"How? answer {i}"], "prompts": ["How?"]}).encode() for i in range(5)]
    sent = b"".join(HEAD % str(len(body)).encode() + body for body in bodies)
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    rewards = [json.loads(part.partition(b"\r\n\r\n")[2])["rewards"][0] for part in answers.split(b"HTTP/1.1 200")[1:]]
    alone = [send(address, body)[1]["rewards"][0] for body in bodies]
    assert rewards == pytest.approx(alone, rel=1e-6)


def raw(address: str, sent: bytes, *, close: bool = True) -> tuple[int, dict[str, Any]]:
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_what_is_no_request_is_answered_too(address: str) -> None:
    assert raw(address, b"\x16\x03\x01 this is TLS\r\n\r\n")[0] == 400
    assert raw(address, b"POST /get_reward HTTP/x\r\n\r\n")[0] == 400
    assert raw(address, b"GET / HTTP/1.1\r\n\r\n")[0] == 400  # no Host
    assert raw(address, b"GET /" + b"a" * 70000)[0] == 431
    assert raw(address, b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 20000)[0] == 431
    assert raw(address, b"a" * (1 << 20))[0] == 431
    assert "ended after 2 of 9 bytes" in raw(address, HEAD % b"9" + b"{}")[1]["error"]
    assert send(address, {"query": ["a"]})[0] == 200


def test_a_silent_client_is_let_go(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr("embrm.serving.guard.LINGER_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    assert raw(address, HEAD % b"9" + b"{}", close=False)[0] == 408
    # One that never asks gets no answer, and the connection ends; so does that of one who says a byte now and then.
    host, port = address.split("/")[2].split(":")
    for said in (b"", b"POST /get_reward HTTP/1.1\r\nHost: lo"):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            began = time.monotonic()
            with suppress(ConnectionResetError, BrokenPipeError):
                for byte in said:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
                    if time.monotonic() - began > 2:
                        break
                assert connection.recv(100) == b""
            assert time.monotonic() - began < 2


def test_a_token_is_asked_for(model: FittedHead) -> None:
    with openrlhf.reward_server(model, port=0, token="s3cret").running() as address:
        body = {"query": ["a"]}
        for wrong in ("Bearer s3cre", "Bearer s3cret2", "Bearer", "s3cret", "Digest s3cret", "Basic !!", "Bearer ä"):
            status, answer = send(address, body, Authorization=wrong.encode("utf-8").decode("latin-1"))
            assert (status, "wrong token or none" in answer["error"]) == (401, True)
        assert send(address, body)[0] == 401
        assert send(address, b" " * (32 << 20))[0] == 401
        assert send(address, body, method="GET", path="/elsewhere")[0] == 401
        assert send(address, body, Authorization="Bearer s3cret")[0] == 200
        # An address http://user:s3cret@host is sent like this, by aiohttp and by requests.
        basic = "Basic " + base64.b64encode(b"user:s3cret").decode()
        assert send(address, body, Authorization=basic)[0] == 200


def page(address: str, path: str, *, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    connection.close()
    return found


def test_probes_are_answered(model: FittedHead, tmp_path: Path) -> None:
    model.save(tmp_path / "proxy")
    embedder = embedders.get("hashing")(dimension=64)
    with openrlhf.reward_server(tmp_path / "proxy", port=0, embedder=embedder).running() as address:
        status, kind, body = page(address, "/health")
        assert (status, kind) == (200, "application/json")
        assert json.loads(body) == {"status": "ok", "model": "proxy", "version": embrm.__version__}
        assert page(address, "/") == (200, "application/json", '{"embrm": "rewards are at POST /get_reward"}')
        for path in ("/", "/health", "/metrics"):
            assert page(address, path, method="HEAD")[::2] == (200, "")
        assert page(address, "/get_reward", method="HEAD")[::2] == (405, "")
        assert page(address, "/healthz")[0] == 404
        # A body that nobody reads does not destroy the answer.
        assert send(address, b" " * (4 << 20), method="GET", path="/health")[0] == 200
    with openrlhf.reward_server(model, port=0, token="s3cret").running() as address:
        assert json.loads(page(address, "/health")[2]) == {"status": "ok"}
        told = json.loads(page(address, "/health", Authorization="Bearer s3cret")[2])
        assert told == {"status": "ok", "model": "linear", "version": embrm.__version__}
        assert page(address, "/")[0] == 200
        assert page(address, "/metrics")[0] == 401
        assert page(address, "/metrics", Authorization="Bearer s3cret")[0] == 200


def test_what_was_done_is_counted(model: FittedHead) -> None:
    with openrlhf.reward_server(model, port=0, embedder=Cutting()).running() as address:
        send(address, {"query": ["a", "b long", None]})
        send(address, {"prompt": "How?", "response": "long"})
        send(address, b"{")
        send(address, {}, path="/elsewhere")
        page(address, "/health")
        status, kind, text = page(address, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for name in ("requests_total", "samples_total", "sample_errors_total", "cut_texts_total", "request_seconds"):
        assert f"# HELP embrm_{name} " in text
        assert f"# TYPE embrm_{name} " in text
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    counts = {name: float(value) for name, value in rows}
    assert len(counts) == len(rows)
    assert {name: value for name, value in counts.items() if "seconds" not in name} == {
        'embrm_requests_total{status="200"}': 2,
        'embrm_requests_total{status="400"}': 1,
        'embrm_requests_total{status="404"}': 1,
        "embrm_samples_total": 4,
        "embrm_sample_errors_total": 1,
        "embrm_cut_texts_total": 2,
    }
    buckets = [value for name, value in counts.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert counts["embrm_request_seconds_count"] == counts['embrm_request_seconds_bucket{le="+Inf"}'] == 4
    assert 0 < counts["embrm_request_seconds_sum"] < 60


def test_a_histogram_counts_each_request_once() -> None:
    counters = Counters()
    for seconds in (0.001, 0.005, 0.3, 100.0):
        counters.request(200, seconds)
    text = counters.page()
    for line in ('{le="0.005"} 2', '{le="0.25"} 2', '{le="0.5"} 3', '{le="60.0"} 3', '{le="+Inf"} 4'):
        assert f"embrm_request_seconds_bucket{line}\n" in text
    assert "embrm_request_seconds_sum 100.306000\nembrm_request_seconds_count 4\n" in text


def test_a_page_of_the_web_cannot_use_the_server(model: FittedHead) -> None:
    limits = openrlhf.ServerLimits(hosts=("Node7.example",))
    with openrlhf.reward_server(model, port=0, limits=limits).running() as address:
        host = address.split("/")[2]
        body = {"query": ["a"]}
        # A name that its owner pointed at this machine (DNS rebinding).
        for name in ("evil.example", "evil.example:5000", "127.0.0.1.evil.example", "192.0.2.7", "", "[", "[::1"):
            status, answer = send(address, body, Host=name)
            assert (status, "this server is not called" in answer["error"]) == (403, True), name
            assert page(address, "/health", Host=name)[0] == 403
        for name in ("localhost", "LOCALHOST:99", "localhost.", "127.0.0.1", "[::1]:80", "node7.example:5000", host):
            assert send(address, body, Host=name)[0] == 200, name
        for origin in ("http://evil.example", "null", "http://localhost:3000", "", f"http://{host}.evil.example"):
            status, answer = send(address, body, Origin=origin)
            assert (status, "another origin" in answer["error"]) == (403, True), origin
            assert page(address, "/metrics", Origin=origin)[0] == 403
        assert send(address, body, Origin=f"http://{host}")[0] == 200


def test_a_server_of_all_addresses_goes_by_addresses_and_its_machine_s_name() -> None:
    access = Access("0.0.0.0", ("given",), "t")
    for name in ("192.0.2.7:5000", "[2001:db8::1]", socket.gethostname(), "given", "localhost", None):
        assert access.knows(name), name
    assert not access.knows("evil.example")
    assert Access("192.0.2.7", token="t").knows("192.0.2.7:80")
    assert not Access("192.0.2.7", token="t").knows("192.0.2.8:80")


def test_the_token_is_in_no_log(model: FittedHead, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with openrlhf.reward_server(model, port=0, token="s3cret").running() as address:
        for given in ("Bearer s3cret", "Bearer s3cret2", "Basic " + base64.b64encode(b"user:s3cret").decode()):
            status, answer = send(address, {"query": ["a"]}, Authorization=given)
            assert status in (200, 401)
            assert "s3cret" not in json.dumps(answer)
            send(address, b"{", Authorization=given)
    assert "POST /get_reward" in caplog.text
    assert "s3cret" not in caplog.text
    assert base64.b64encode(b"user:s3cret").decode() not in caplog.text


def test_the_audit_log_has_no_texts(model: FittedHead, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = openrlhf.ServerLimits(audit=str(tmp_path / "audit"))
    with openrlhf.reward_server(model, port=0, token="s3cret", limits=limits).running() as address:
        assert send(address, {"query": ["private words"]}, Authorization="Bearer s3cret")[0] == 200
        send(address, b"{private", path="/get_reward?private=1", Authorization="Bearer s3cret")
        send(address, {}, path="/private", Authorization="Bearer private")
        (tmp_path / "audit").rename(tmp_path / "audit.1")
        send(address, {}, method="BREW")
    lines = [json.loads(line) for name in ("audit.1", "audit") for line in (tmp_path / name).read_text().splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/get_reward", 200),
        ("POST", "/get_reward", 400),
        ("POST", "other", 401),
        ("BREW", "/get_reward", 401),
    ]
    for line in lines:
        assert set(line) == {"time", "client", "method", "path", "status", "seconds", "read"}
        assert line["client"] == "127.0.0.1"
    assert lines[0]["read"] == len(json.dumps({"query": ["private words"]}))
    assert "private" not in json.dumps(lines)
    with pytest.raises(OptionError, match="cannot write the audit log"):
        openrlhf.reward_server(model, port=0, limits=openrlhf.ServerLimits(audit=str(tmp_path)))


def test_bodies_of_all_requests_together_are_bounded(model: FittedHead) -> None:
    """Two clients that stop inside their bodies hold what is allowed; when they go away others are answered again."""
    limits = openrlhf.ServerLimits(size=4096, total=6000)
    body = {"query": ["a" * 2000]}
    with openrlhf.reward_server(model, port=0, limits=limits).running() as address:
        host, port = address.split("/")[2].split(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(2)]
        for client in silent:
            head = f"POST /get_reward HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: 4000\r\n\r\n".encode() + b"x" * 2500)
        found = [eventually(lambda: send(address, body), 503)]
        for client in silent:
            client.close()
        found.append(eventually(lambda: send(address, body), 200))
        assert send(address, {"query": ["a" * 4000]})[0] == 200  # nothing of those that went away is held
    assert re.search("have 6000 bytes together, and no more are held; ask again later", found[0]["error"])


def eventually(ask: Callable[[], tuple[int, dict[str, Any]]], status: int) -> dict[str, Any]:
    """Ask until the answer has a status, and return it."""
    for _ in range(100):
        found, answer = ask()
        if found == status:
            return answer
        time.sleep(0.05)
    raise AssertionError((found, answer))


def test_a_log_that_cannot_be_written_stops_nothing(
    model: FittedHead, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = openrlhf.ServerLimits(audit=str(tmp_path / "logs"))
    with openrlhf.reward_server(model, port=0, limits=limits).running() as address:
        (tmp_path / "logs").unlink()
        (tmp_path / "logs").mkdir()
        assert send(address, {"query": ["a"]})[0] == 200
    assert "the audit log cannot be written" in caplog.text


def test_without_the_extra_the_command_that_installs_it_is_told(
    model: FittedHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embrm.serving.find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(MissingExtraError, match=r"embrm serve needs uvicorn: pip install 'embrm\[serve\]'"):
        openrlhf.reward_server(model, port=0)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_an_address_that_others_reach_needs_a_token(host: str, model: FittedHead) -> None:
    with pytest.raises(OptionError, match="can be reached from other machines; give a token"):
        openrlhf.reward_server(model, host=host, port=0)
    openrlhf.reward_server(model, host="0.0.0.0", port=0, token="t").server_close()


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "::1"])
def test_addresses_of_this_machine_need_none(host: str, model: FittedHead) -> None:
    try:
        server = openrlhf.reward_server(model, host=host, port=0)
    except OptionError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with server.running() as address:
        port = address.rsplit(":", 1)[1].partition("/")[0]
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("POST", "/get_reward", b'{"query": ["a"]}', {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, list(json.loads(answer.read()))) == (200, ["rewards", "scores", "extra_logs"])
        connection.close()


def test_addresses_and_tokens_that_cannot_be(model: FittedHead) -> None:
    with pytest.raises(OptionError, match="the token must be printable ASCII"):
        openrlhf.reward_server(model, port=0, token="")
    with pytest.raises(OptionError, match=r"cannot listen at no\.such\.invalid, port 1"):
        openrlhf.reward_server(model, host="no.such.invalid", port=1)
    with openrlhf.reward_server(model, port=0) as taken, pytest.raises(OptionError, match=r"cannot listen at .*in use"):
        openrlhf.reward_server(model, port=taken.server_address[1])
    with pytest.raises(OptionError, match="does not value a text"):
        openrlhf.reward_server(model, port=0, rule=selectors.get("thompson")())


def test_sixty_four_clients_at_once(model: FittedHead, address: str) -> None:
    start = threading.Barrier(64)

    def client(i: int) -> tuple[int, int, dict[str, Any]]:
        start.wait()
        kind = i % 4
        if kind == 3:
            return i, *send(address, [b"{", b" " * 100_000, {"query": []}][i // 4 % 3])
        query = f"How? answer {i % 8}"
        return i, *send(address, {"query": [query], "prompts": ["How?"], "labels": [""]})

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(client, range(64)))
    rewards = expected(model, [("How?", f"answer {i}") for i in range(8)]).mean(axis=0)
    for i, status, answer in answers:
        if i % 4 == 3:
            assert (status, list(answer)) == ([400, 413, 400][i // 4 % 3], ["error"])
        else:
            assert status == 200
            np.testing.assert_allclose(answer["rewards"], [rewards[i % 8]], rtol=1e-6)


def test_a_failure_of_scoring_is_the_servers_and_it_goes_on(
    model: FittedHead, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = Counting()
    with openrlhf.reward_server(model, port=0, embedder=embedder).running() as address:
        embedder.broken.append(RuntimeError("of no interest to the client"))
        assert send(address, {"query": ["a"]}) == (
            500,
            {"error": "scoring failed: RuntimeError; the server's log says more"},
        )
        assert "of no interest" in caplog.text
        embedder.broken[0] = OptionError("cannot go on")
        assert send(address, {"query": ["a"]}) == (500, {"error": "scoring failed: cannot go on"})
        embedder.broken.clear()
        assert send(address, {"query": ["a"]})[0] == 200


def test_requests_under_way_are_answered_when_the_server_stops(model: FittedHead) -> None:
    embedder = Counting(seconds=0.3)
    server = openrlhf.reward_server(model, port=0, embedder=embedder)
    with ThreadPoolExecutor(4) as pool:
        with server.running() as address:
            calls = [pool.submit(send, address, {"query": [f"answer {i}"]}) for i in range(4)]
            while server.guard.under_way < 4:
                time.sleep(0.01)
        assert [call.result()[0] for call in calls] == [200] * 4
    with pytest.raises(ConnectionRefusedError):
        send(address, {"query": ["a"]})


def test_clients_that_go_away_do_no_harm(model: FittedHead) -> None:
    embedder = Counting(seconds=0.1)
    with openrlhf.reward_server(model, port=0, embedder=embedder).running() as address:
        host, port = address.split("/")[2].split(":")
        body = json.dumps({"query": ["a"]}).encode()
        for _ in range(5):
            with socket.create_connection((host, int(port))) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset at close
                head = b"POST /get_reward HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(body) + body)
        assert send(address, {"query": ["a"]})[0] == 200


def test_a_batch_that_is_full_leaves_the_rest_for_the_next(model: FittedHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embrm.integrations._scorer.BATCH", 4)
    embedder = Counting(seconds=0.05)
    scorer = TextScorer(model, embedder=embedder)
    embedder.calls.clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: scorer([f"{i} {j}" for j in range(3)], ["How?"] * 3), range(8)))
    assert [len(texts) for texts in embedder.calls] == [3] * 8
    rewards = expected(model, [("How?", f"{i} {j}") for i in range(8) for j in range(3)]).mean(axis=0)
    np.testing.assert_allclose(np.concatenate([f.reward for f in found]), rewards, rtol=1e-5)
