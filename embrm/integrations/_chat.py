"""Prompt and response as plain text, out of what a trainer decoded with a chat template's tokens in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from embrm.errors import DataError

# What opens a turn: ChatML; Llama 3; Gemma; Zephyr, Tülu and Phi; DeepSeek; Llama 2 and Mistral.
_header = re.compile(
    r"""  <\|im_start\|>\s*(?P<chatml>\w+)\n?
        | <\|start_header_id\|>\s*(?P<llama>\w+)\s*<\|end_header_id\|>\s*
        | <start_of_turn>\s*(?P<gemma>\w+)\n?
        | <[|｜](?P<named>(?i:system|user|assistant))[|｜]>\n?
        | (?P<system><<SYS>>)
        | (?P<user>\[INST\]|<</SYS>>)
        | (?P<assistant>\[/INST\])
    """,
    re.VERBOSE,
)
_token = re.compile(r"<[|｜][\w▁]+[|｜]>|<(?:bos|eos|pad|unk|end_of_turn)>|\[(?:PAD|CLS|SEP)\]")
# <s> strikes text through in HTML, so that only one at an end is taken for a token. The end is looked at backwards: a
# pattern that must reach the end would try every space of a long run in the middle.
_start = re.compile(r"(?:\s|</?s>)+")
_reversed_end = re.compile(r"(?:\s|>s/?<)+")


def split(query: str, prompt: str | None = None, *, keep_system: bool = False) -> tuple[str, str]:
    """Return the prompt and the response of a decoded sequence, without the template's tokens.

    The response is what follows the prompt; where the prompt is not given, or was cut or decoded to something else, it
    is what follows the last header of an assistant. A prompt of one message becomes its content, one of several the
    contents with the role before each, as `embrm.data.read` has it for lists of messages.

    Args:
        query: prompt and response, as decoded with special tokens.
        prompt: the same prompt by itself, with or without its template; None where it is not known: a query without
            any header is then a response to an empty prompt.
        keep_system: whether system messages stay in the prompt; off because many templates put in one of their own.

    Raises:
        DataError: the query does not begin with the prompt, and no header tells where the response begins.
    """
    headers = [match.end() for match in _header.finditer(query) if _role(match) == "assistant"]
    if prompt is None:
        cut = headers[-1] if headers else 0
        return _prompt(query[:cut], keep_system), plain(query[cut:])
    asked, bare, start = _prompt(prompt, keep_system), plain(query), plain(prompt)
    if prompt in query:
        cut = query.index(prompt) + len(prompt)
        if not query.startswith(prompt) and not _header.search(prompt):  # the query has a template, the prompt has none
            cut = next((end for end in headers if end >= cut), cut)
        return asked, plain(query[cut:])
    if bare.startswith(start):
        return asked, bare[len(start) :].strip()
    if headers:
        return asked, plain(query[headers[-1] :])
    raise DataError("the query does not begin with its prompt, and no assistant header says where the response begins")


def plain(text: str) -> str:
    """Return text without headers, special tokens, and the space around it."""
    text = _token.sub("", _header.sub("\n\n", text))
    text = text[_length(_start.match(text)) :]
    return text[: len(text) - _length(_reversed_end.match(text[::-1]))]


def _length(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def _role(match: re.Match[str]) -> str:
    if match.lastgroup in ("system", "user", "assistant"):
        return match.lastgroup
    role = match[match.lastgroup or 0].lower()
    return "assistant" if role == "model" else role


def _prompt(text: str, keep_system: bool) -> str:
    messages = [m for m in _messages(text) if m[1] and (keep_system or m[0] != "system")]
    if len(messages) < 2:
        return "".join(content for _, content in messages)
    return "\n\n".join(f"{role}: {content}" for role, content in messages)


def _messages(text: str) -> Iterator[tuple[str, str]]:
    """Yield role and content of each turn; text before the first header is the user's, or a template's preface."""
    headers = list(_header.finditer(text))
    if not headers:
        yield "user", plain(text)
        return
    yield "system", plain(text[: headers[0].start()])
    ends = [match.start() for match in headers[1:]] + [len(text)]
    for match, end in zip(headers, ends, strict=True):
        yield _role(match), plain(text[match.end() : end])
