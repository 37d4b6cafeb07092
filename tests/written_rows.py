"""One conversation with two responses, written down in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embrm.data.layouts import get, names

Row = dict[str, Any]
Turns = list[dict[str, Any]]
OTHER = "No idea."


def from_value(turns: Turns) -> Turns:
    who = {"user": "human", "assistant": "gpt"}
    return [{"from": who.get(m["role"], m["role"]), "value": m["content"], **m} for m in turns]


WHOLE = [name for name in names() if "traces" not in get(name)().kinds]  # whose texts are whole responses


def rows_of(layout: str, asked: Turns, said: str) -> list[Row]:
    """Return rows of a layout that hold the conversation with `said` and with another response."""
    last = [{"role": "assistant", "content": said}]
    two = {"prompt": asked, "responses": [said, OTHER]}
    rated = [{"response": said, "score": 2}, {"response": OTHER, "score": 1}]
    written: dict[str, list[Row]] = {
        "pairs": [{"chosen": asked + last, "rejected": [*asked, {"role": "assistant", "content": OTHER}]}],
        "asked_pairs": [{"question": asked, "chosen": said, "rejected": OTHER}],
        "sharegpt": [{"conversations": from_value(asked), "chosen": from_value(last)[0], "rejected": OTHER}],
        "swift": [{"messages": asked + last, "rejected_response": OTHER}],
        "shp": [{"history": asked, "human_ref_A": said, "human_ref_B": OTHER, "labels": 1}],
        "two_responses": [{"prompt": asked, "response_0": OTHER, "response_1": said, "better_response_id": 1}],
        "scored_responses": [{"prompt": asked, "answer_0": OTHER, "answer_1": said, "score_0": -1, "score_1": 0.5}],
        "signed": [{"context": asked, "response1": said, "response2": OTHER, "overall_preference": -1}],
        "rated_completions": [{"instruction": asked, "completions": rated}],
        "rated_rows": [{"prompt": asked, **one} for one in rated],
        "rated_pools": [{**two, "ratings": [2, 1]}],
        "ranked_answers": [{"prompt": asked, "answers": [{"answer": said, "rank": 1}, {"answer": OTHER, "rank": 2}]}],
        "alpaca_eval": [{"instruction": asked, "output": text, "generator": text} for text in (said, OTHER)],
        "voted": [{"prompt": asked, "response_a": said, "response_b": OTHER, "votes": ["a", "a"]}],
        "conversations": [{"messages": [*asked, {"role": "assistant", "content": text}]} for text in (said, OTHER)],
        "pools": [{"id": "a", **two}],
        "stepwise": [{"prompt": asked, "completions": [said, OTHER], "labels": [True, False]}],
        "first_error": [{"prompt": asked, "steps": [said, OTHER], "label": 1}],
        "rated_steps": [
            {"question": {"problem": asked}, "label": {"steps": [{"completions": [{"text": said, "rating": 1}]}]}}
        ],
        "texts": [{"prompt": asked, "completion": text} for text in (said, OTHER)],
    }
    return written[layout]


def file(folder: Path, rows: list[Row]) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "rows.jsonl"
