"""The report: one HTML file that needs no network, answers first, evidence below.

Everything but the table of inputs is drawn here, so it shows and prints without a script. The inputs travel as JSON
in a script element of type ``application/json``, and the page's script puts them on the screen as text nodes only. The
content security policy allows this one style sheet and this one script, by their hashes, and nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from clucert.report import audit_section as attacked
from clucert.report import charts, sections
from clucert.report import format as figures
from clucert.report import header as opening
from clucert.report.markup import environment, packaged
from clucert.report.outcome import MEANING
from clucert.report.payload import embed, payload
from clucert.report.summary import STAGES, Summary


def page(summaries: Sequence[Summary]) -> str:
    """The whole document for these runs. The same runs give the same bytes."""
    style, script = packaged("style.css"), packaged("app.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    templates = environment()
    templates.filters |= {name: getattr(figures, name) for name in figures.FILTERS}
    templates.globals |= {"attacked": attacked, "charts": charts, "opening": opening, "sections": sections}
    templates.globals |= {"MEANING": MEANING, "STAGES": STAGES}
    return templates.get_template("page.html.j2").render(
        summaries=summaries,
        policy=policy,
        # Trusted as they are: two files of this package, and JSON that `embed` made inert.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(embed(payload([summary.run for summary in summaries]))),  # noqa: S704
    )


def _hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"'sha256-{digest}'"
