"""The campaign's cases, a few of each category; `just campaign` tries many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import campaign

EACH = 12


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_category_reads_or_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    of = campaign.categories(tmp_path)
    found = {(name, campaign.tried(name, number, of)) for name in of for number in range(EACH)}
    assert {outcome for _, outcome in found} == {"read", "refused"}
    again = {(name, campaign.tried(name, number, of)) for name in of for number in range(EACH)}
    assert found == again


def test_a_fault_is_counted_and_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: bytes) -> None:
        raise KeyError(len(data))

    monkeypatch.setattr(campaign, "categories", lambda room: {"bad": ([b"abc"], fails), "good": ([b"abc"], len)})
    monkeypatch.setenv("EMBRM_CACHE", "")
    assert campaign.main(4) == 2
    assert "bad 0: KeyError" in capsys.readouterr().out
