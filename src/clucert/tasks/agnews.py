"""AG News: which of four sections does a news item belong to?

Chosen for SmolLM2 on 80 rows of a validation split: 59 % right as it is, 71 % calibrated on texts that say nothing,
86 % calibrated on the shots, one for each section.
"""

from __future__ import annotations

from clucert.tasks.classification import ClosedTask, Shot

_SHOTS = (
    Shot("Rebels and government troops clashed near the capital, the foreign ministry said.", "world"),
    Shot("The striker scored twice as the home side won the cup final on Sunday.", "sports"),
    Shot("Shares fell after the retailer cut its profit forecast for the quarter.", "business"),
    Shot("A new version of the web browser fixes security holes in its software.", "sci/tech"),
)

_SECTIONS = ("world", "sports", "business", "sci/tech")

AGNEWS = ClosedTask(
    name="agnews",
    labels=_SECTIONS,
    instruction="Classify each news article as world, sports, business or sci/tech.",
    shots=_SHOTS,
    content_free=tuple(shot.text for shot in _SHOTS),
    raw_instruction=False,
    text_heading="Article",
    stop=("\nArticle:",),
    label_heading="Topic",
    synonyms={
        "sport": "sports",
        "science": "sci/tech",
        "technology": "sci/tech",
        "science/technology": "sci/tech",
        "science and technology": "sci/tech",
        "science & technology": "sci/tech",
        "sci tech": "sci/tech",
        "sci-tech": "sci/tech",
        "scitech": "sci/tech",
        "tech": "sci/tech",
    },
    # The hub counts from 0, the authors' CSV from 1.
    numberings=tuple({str(i): section for i, section in enumerate(_SECTIONS, start)} for start in (0, 1)),
)
