"""GSM8K: a school word problem; the vote is the final number, so answers are open."""

from __future__ import annotations

from clucert.tasks.classification import Shot
from clucert.tasks.numbers import final_number
from clucert.tasks.open_ended import OpenTask

GSM8K = OpenTask(
    name="gsm8k",
    instruction=(
        "Solve the problem step by step, briefly. End with a line that holds #### and the final number, nothing else."
    ),
    reader=final_number,
    shots=(
        Shot(
            "A baker sells 3 trays of 12 rolls and keeps 5 rolls of what is left from 50. How many can go?",
            "She sells 3 * 12 = 36 rolls. 50 - 36 = 14 are left. She keeps 5, so 14 - 5 = 9.\n#### 9",
        ),
        Shot(
            "Tickets cost $8 for adults and half of that for children. What do 2 adults and 3 children pay?",
            "A child pays 8 / 2 = 4 dollars. 2 * 8 + 3 * 4 = 16 + 12 = 28.\n#### 28",
        ),
    ),
)
