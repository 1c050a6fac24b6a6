"""Build a lexicon of a domain out of labelled rows: which words stand for one another there.

    build/lexicon-venv/bin/python scripts/build_domain.py film=sst2_train.jsonl news=agnews_train.jsonl

Writes ``scripts/lexicon_build/domains/NAME.tsv`` for each (``--out`` names another folder): these two go into the wide
pools when ``scripts/build_lexicon.py`` is run next. A file of your own domain goes on top of them at run time:
``--lexicon wide --lexicon mine.tsv``. The environment is that of ``scripts/build_lexicon.py``; how words are paired is
in ``lexicon_build/domain.py``. Rows are JSON Lines with ``text`` and ``label``; use training rows, never those that
are certified.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from build_lexicon import prepare
from lexicon_build import domain


def main() -> None:
    """Read the options, build, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domains", nargs="+", metavar="NAME=ROWS.jsonl")
    parser.add_argument("--work", type=Path, default=Path("build/lexicon"), help="downloads and caches")
    parser.add_argument("--out", type=Path, default=domain.FOLDER, help="folder of the files")
    options = parser.parse_args()
    named = [each.partition("=")[::2] for each in options.domains]
    if not all(name and path for name, path in named):
        parser.error("write NAME=ROWS.jsonl, such as film=sst2_train.jsonl")
    material = prepare(options.work)
    for name, path in named:
        rows = domain.rows_of(Path(path))
        found = domain.find(material.scorer, material.inflected, material.usual, rows)
        head = f"# Words of {len(rows)} rows that stand for one another there: scripts/build_domain.py"
        lines = [head, *("\t".join((word, *others)) for word, others in sorted(found.items()))]
        out = options.out / f"{name}.tsv"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines) + "\n", encoding="ascii")
        print(f"{out}: {len(found)} words")


if __name__ == "__main__":
    main()
