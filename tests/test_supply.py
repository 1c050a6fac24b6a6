"""What the checks of the supply chain say, where it is not what they are for that went wrong."""

from __future__ import annotations

import json
import re

import pytest
from scripts import supply


def _found(*holes: list[str] | None) -> str:
    packages = [
        {"name": f"p{i}", "version": "1"}
        | ({"skip_reason": "not found"} if ids is None else {"vulns": [{"id": each} for each in ids]})
        for i, ids in enumerate(holes)
    ]
    return json.dumps({"dependencies": packages})


@pytest.mark.parametrize(
    ("printed", "complaints", "said", "fine"),
    [
        (_found(None, None), "", "NOT AUDITED: the database is out of reach: none of 2 packages", True),
        ("", "x\nrequests.exceptions.ProxyError: no", "NOT AUDITED: the database is out of reach: requests", True),
        ("", "ERROR:pip_audit._cli:Could not connect to PyPI's feed", "NOT AUDITED: the database is out of", True),
        (_found([], []), "", "2 of 2 packages audited, no known vulnerability", True),
        (_found([], None), "", "1 of 2 packages audited, no known vulnerability; NOT AUDITED, as .*: p1$", True),
        (_found([], ["CVE-1", "CVE-2"]), "", "^p1 1: CVE-1, CVE-2$", False),
        ("", "python: No module named pip_audit", "^NOT AUDITED: python: No module named pip_audit$", False),
        ("{}", "", "NOT AUDITED: pip-audit said nothing", False),
        ("", "KeyError: 'name'", "NOT AUDITED: KeyError", False),
    ],
)
def test_only_a_database_out_of_reach_lets_an_audit_pass(printed: str, complaints: str, said: str, fine: bool):
    message, passes = supply.audited(printed, complaints)
    assert passes is fine
    assert re.search(said, message), message


def test_the_lock_has_what_the_project_asks_for_and_a_change_of_either_is_said(monkeypatch, capsys):
    supply.locked()
    assert "packages that pyproject.toml asks for" in capsys.readouterr().out
    dev = [*supply.PROJECT["dependency-groups"]["dev"], "Some_Package>=1", "ruff>=9999"]
    changed = {**supply.PROJECT, "dependency-groups": {**supply.PROJECT["dependency-groups"], "dev": dev}}
    monkeypatch.setattr(supply, "PROJECT", changed)
    with pytest.raises(SystemExit, match=r"lock does not have Some_Package>=1, ruff>=9999, .*: run  make lock"):
        supply.locked()
