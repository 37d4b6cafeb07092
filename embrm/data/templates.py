"""Turns out of text that went through a chat template, of whichever model family.

Known are ChatML (Qwen, Phi 4, Kimi, Nemotron, …), Llama 2 to 4, Mistral, Gemma 1 to 4, Zephyr, Tülu, Phi 3, GLM,
DeepSeek, Cohere, Granite, gpt-oss (whose other channels are thinking), Exaone, MiniMax, Idefics and Vicuna.
"""

from __future__ import annotations

import re

Turn = tuple[str, str]

_header = re.compile(
    r"""  <\|im_start\|>\s*(?P<chatml>\w+)(?:<\|im_sep\|>|:\s)?\n?
        | <\|im_(?:user|assistant|system)\|>(?P<kimi>\w*)<\|im_middle\|>
        | <\|(?:start_header_id|header_start)\|>\s*(?P<llama>\w+)\s*<\|(?:end_header_id|header_end)\|>\s*
        | <(?:start_of_turn|\|turn)>\s*(?P<gemma>\w+)\n?
        | <[|｜](?P<named>(?i:system|user|assistant|observation|developer|tool))[|｜]>\n?
        | <\|START_OF_TURN_TOKEN\|><\|(?P<cohere>\w+)_TOKEN\|>
        | <\|start_of_role\|>\s*(?P<granite>\w+)[^<]*<\|end_of_role\|>
        | (?:<\|start\|>\s*(?P<harmony>\w+)[^<\n]*)?
          <\|channel\|>\s*(?P<channel>\w+)[^<\n]*(?:<\|constrain\|>\w+)?<\|message\|>
        | <\|start\|>\s*(?P<bare>\w+)(?:[^<\n]*<\|message\|>)?
        | \[\|(?P<exaone>system|user|assistant|tool)\|\]
        | \]~b\](?P<minimax>\w+)[^\n]*\n?
        | (?:(?<=<end_of_utterance>)\s*|(?<=<\|begin_of_text\|>))(?P<idefics>User|Assistant):\s?
        | (?P<system><<SYS>>|\[SYSTEM_PROMPT\])
        | (?P<user>\[INST\]|<</SYS>>|\[/SYSTEM_PROMPT\])
        | (?P<assistant>\[/INST\]|\ ?to=\w+<\|message\|>)
    """,
    re.VERBOSE,
)
_vicuna = re.compile(r"(?:^|(?<=\s)|(?<=</s>))(?P<vicuna>USER|ASSISTANT):(?:\s|$)")
_token = re.compile(
    r"<[|｜][\w▁]+[|｜]>|<(?:bos|eos|pad|unk|end_of_turn|end_of_utterance|sop|turn\||BOS_TOKEN|EOS_TOKEN)>"
    r"|\[(?:PAD|CLS|SEP|gMASK)\]|\[\|endofturn\|\]|\[e~\[|\]~!b\["
)
_signs = ("<|", "<｜", "<start_of_turn>", "[INST]", "[|", "]~b]", "<end_of_utterance>", "<<SYS>>", "[SYSTEM_PROMPT]")
# <s> strikes text through in HTML, so that only one at an end is taken for a token. The end is looked at backwards: a
# pattern that must reach the end would try every space of a long run in the middle.
_start = re.compile(r"(?:\s|</?s>)+")
_reversed_end = re.compile(r"(?:\s|>s/?<)+")
# Marks of thinking that look like tokens or like no tag at all, written as the tags that the others have.
_thinking = re.compile(r"(?P<open><\|begin_of_thought\|>|\[THINK\]|◁think▷)|<\|end_of_thought\|>|\[/THINK\]|◁/think▷")
_signs_of_tokens = (
    *("<|", "<｜", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<end_of_", "_TOKEN>", "[PAD]", "THINK]", "◁"),
    *("<turn|>", "[|endofturn|]", "[e~["),
)
_ROLES = {
    "model": "assistant",
    "ai": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "human": "user",
    "observation": "tool",
    "developer": "system",
}


def role_of(name: str) -> str:
    """Return user, assistant, system or tool for what model families and data sets call them; others in lower case."""
    name = name.strip().lower()
    return _ROLES.get(name, name)


def headers_of(text: str) -> list[tuple[int, int, str]]:
    """Return start, end and role of each turn's header; the role of what gpt-oss does not say aloud is "thinking"."""
    found = list(_header.finditer(text)) if _is_marked(text) and any(sign in text for sign in _signs) else []
    if not found and "USER:" in text and "ASSISTANT:" in text:
        found = list(_vicuna.finditer(text))
    return [(match.start(), match.end(), _role(match)) for match in found]


def _role(match: re.Match[str]) -> str:
    if match.lastgroup in ("system", "user", "assistant"):
        return match.lastgroup
    if match.groupdict().get("channel") not in (None, "final"):
        return "thinking"
    if match.lastgroup == "channel":
        return role_of(match["harmony"] or "assistant")
    return role_of(match[match.lastgroup or 0])


def templated_turns(text: str, *, first: str = "user") -> list[Turn]:
    """Return role and content of each turn of a templated text, without the template's tokens.

    Args:
        text: as a tokenizer decoded it, special tokens and all.
        first: whose the text before the first header is. With "user", what stands before a header is a template's
            preface, and so the system's; a text without any header is the user's.
    """
    headers = headers_of(text)
    if not headers:
        return [(first, plain(text))]
    preface = "system" if first == "user" else first
    ends = [start for start, _, _ in headers[1:]] + [len(text)]
    turns = [(role, plain(text[stop:end])) for (_, stop, role), end in zip(headers, ends, strict=True)]
    return [(preface, plain(text[: headers[0][0]])), *turns]


def untokened(text: str) -> str:
    """Return a text that went through no template, or through half of one, without special tokens where it has any."""
    return plain(text) if _is_marked(text) and any(sign in text for sign in _signs_of_tokens) else text


def _is_marked(text: str) -> bool:
    """Say whether a text has a character of those that each sign has, which is sooner seen than the signs."""
    return "<" in text or "[" in text or "]" in text or "◁" in text


def plain(text: str) -> str:
    """Return text without headers, special tokens, and the space around it, with thinking in `<think>`."""
    text = _thinking.sub(lambda match: "<think>" if match["open"] else "</think>", text)
    text = _token.sub("", _header.sub("\n\n", text))
    match = _start.match(text)
    text = text[match.end() if match else 0 :]
    match = _reversed_end.match(text[::-1])
    return text[: len(text) - (match.end() if match else 0)]
