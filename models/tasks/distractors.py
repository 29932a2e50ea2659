"""Sentences with numbers that the answer does not depend on."""

from __future__ import annotations

from .operations import GAINS, LOSSES
from .story import Story, amount


def distract(story: Story) -> None:
    """Add one sentence that changes nothing."""
    rng = story.rng
    bystander, other_person, other_thing, third_thing = (*story.others[:2], *story.others[2:4])
    person = rng.choice([*story.holds, bystander])
    number = amount(rng, low=3, high=200)
    forms = [
        (f"{person} also has {number} {other_thing}.", ""),
        (f"{person} {rng.choice(GAINS)[0]} {number} {other_thing}.", ""),
        (f"{person} {rng.choice(LOSSES)[0]} {number} {third_thing}.", ""),
        (f"{rng.choice((bystander, other_person))} has {number} {story.thing}.", ""),
        (f"{bystander} {rng.choice(GAINS)[0]} {number} {story.thing}.", ""),
        (f"{person} is {rng.randint(6, 80)} years old.", ""),
        (f"the way to the market takes {rng.randint(5, 90)} minutes.", ""),
        (f"the {third_thing} at the market cost {rng.randint(2, 40)} dollars.", ""),
    ]
    sentence, subject = rng.choice(forms)
    story.say(sentence, subject)
