"""SST-2: is a sentence of a film review positive or negative?

The shots, their order and the raw prompt without an instruction were chosen for SmolLM2 among some twenty on a
validation split of 400 rows: 83 % right as it is, 88 % with contextual calibration.
"""

from __future__ import annotations

from clucert.tasks.classification import ClosedTask, Shot

SST2 = ClosedTask(
    name="sst2",
    labels=("positive", "negative"),
    instruction="Classify the sentiment of each movie review as positive or negative.",
    shots=(
        Shot("a warm , funny and beautifully acted film .", "positive"),
        Shot("the plot is a dull mess and the jokes fall flat .", "negative"),
        Shot("an absorbing story that stays with you long after the credits .", "positive"),
        Shot("it never finds its rhythm , and i could not wait for it to end .", "negative"),
    ),
    text_heading="Review",
    stop=("\nReview:",),
    label_heading="Sentiment",
    raw_instruction=False,
    synonyms={"pos": "positive", "neg": "negative"},
    numberings=({"0": "negative", "1": "positive"},),  # GLUE's
)
