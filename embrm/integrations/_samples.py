"""The samples of a request, each read by itself: what cannot be scored is told of its own sample alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embrm.data.chat import prompt_text
from embrm.embedders import check_texts
from embrm.errors import DataError
from embrm.integrations._chat import split
from embrm.integrations._scorer import Scored, TextScorer

FORMS = 'OpenRLHF sends {"query": [text], "prompts": [text]}, slime {"prompt": text, "response": text, "label": …}'
TOLD = 3  # reasons that a message lists


@dataclass(frozen=True)
class ServerLimits:
    """What a reward server lets requests ask.

    Attributes:
        texts: queries of a request.
        size: bytes of a request's body.
        hosts: names that requests may call the server by, further to this machine's own (the header Host).
        audit: a file that gets a line for each request, without its texts; None writes none.
        total: bytes of the bodies of all requests that are read or answered at one time; one body always has room.
    """

    texts: int = 1024
    size: int = 16 << 20
    hosts: tuple[str, ...] = ()
    audit: str | None = None
    total: int = 128 << 20


@dataclass
class Samples:
    """Prompts and responses as the embedder reads them, and why a sample has none.

    Attributes:
        prompts, responses: of the samples that can be scored.
        rows: where these stood in the request.
        errors: for each sample of the request a reason, or None.
    """

    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many samples cannot be scored."""
        return len(self.errors) - len(self.rows)


def samples_of(queries: Sequence[Any], prompts: Any, *, keep_system: bool) -> Samples:
    """Split each query into its prompt and response.

    Raises:
        DataError: there are not as many prompts as queries, or none of the samples can be scored.
    """
    if prompts is not None and len(texts_of(prompts, "prompts")) != len(queries):
        raise DataError(f"prompts must be as many as queries, got {len(prompts)} and {len(queries)}")
    found = Samples()
    for i, query in enumerate(queries):
        try:
            _check_text(query, "query", i)
            if prompts is not None:
                _check_text(prompts[i], "prompts", i)
            asked, response = split(query, None if prompts is None else prompts[i], keep_system=keep_system)
            check_texts([asked, response])
        except DataError as error:
            found.errors.append(str(error))
        else:
            found.errors.append(None)
            found.rows.append(i)
            found.prompts.append(asked)
            found.responses.append(response)
    if not found.rows:
        reasons = [f"query {i}: {reason}" for i, reason in enumerate(found.errors)]
        more = f"; and {len(reasons) - TOLD} more" if len(reasons) > TOLD else ""
        raise DataError("; ".join(reasons[:TOLD]) + more)
    return found


def sample_of(body: Mapping[str, Any], *, keep_system: bool) -> Samples:
    """Read one sample in slime's form; its prompt is text, with or without a chat template, or messages.

    Raises:
        DataError: it has no response, or one of its texts is none.
    """
    prompt, response = body.get("prompt"), body["response"]
    if not isinstance(response, str):
        raise DataError(f"response must be text, got {type(response).__name__}; {FORMS}")
    if isinstance(prompt, str):
        asked, said = split(prompt + response, prompt, keep_system=keep_system)
    elif prompt is None:
        raise DataError(f"a request with a response needs its prompt; {FORMS}")
    else:
        asked, said = prompt_text(prompt, keep_system=keep_system), split(response, "")[1]
    check_texts([asked, said])
    return Samples([asked], [said], [0], [None])


def rewards_of(scorer: TextScorer, samples: Samples) -> dict[str, list[float | None]]:
    """Return rewards, scores, uncertainty and truncated: a number for each sample of the request, or None."""
    return columns_of(scorer(samples.responses, samples.prompts), samples)


def columns_of(scored: Scored, samples: Samples) -> dict[str, list[float | None]]:
    """Return what `rewards_of` does of samples that are scored already, in their order."""
    columns = {
        "rewards": scored.reward,
        "scores": scored.score,
        "uncertainty": scored.uncertainty,
        "truncated": scored.cut,
    }
    out: dict[str, list[float | None]] = {}
    for name, values in columns.items():
        known = dict(zip(samples.rows, values.tolist(), strict=True))
        out[name] = [known.get(i) for i in range(len(samples.errors))]
    return out


def texts_of(value: Any, name: str, *, found: Iterable[str] | None = None) -> list[Any]:
    """Return a list of at least one entry, each of which should be text.

    Args:
        value: what was sent.
        name: what it is called.
        found: the names that the request has, where the form is to be told.

    Raises:
        DataError: it is no list, or empty.
    """
    if not isinstance(value, list | tuple) or not value:
        form = "" if found is None else f"; {FORMS}; found: {', '.join(sorted(map(ascii, found))) or 'nothing'}"
        raise DataError(f"{name} must be a list of at least one text, got {type(value).__name__}{form}")
    return list(value)


def _check_text(value: Any, name: str, i: int) -> None:
    if not isinstance(value, str):
        raise DataError(f"{name} must be a list of texts, but number {i} is {type(value).__name__}")
