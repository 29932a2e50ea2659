"""Agreement of labels with a second opinion: solutions on whose first error rollouts, a judge and the equations agree.

Labels of rollouts are noisy, and so is a judge. Training on the solutions on which both find the same first error gives
better rewards than on all of either (Zhang et al., arXiv 2501.07301, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from ramify.errors import RewardContextExceeded
from ramify.reward.arithmetic import false_equations
from ramify.reward.protocol import RewardModel

from .judge_features import read_prefixes
from .labelling import LabelledSolution

THRESHOLD = 0.5
"""A step is wrong for a judge if its score is lower."""


async def agreed(judge: RewardModel, labels: Sequence[LabelledSolution]) -> tuple[list[LabelledSolution], int]:
    """Return the labelled solutions of one problem on which all agree, and the tokens that the judge evaluated.

    The judge has to score the first step lower than THRESHOLD that the labels call wrong first, and none if they call
    none wrong. The equations have to hold before that step; where there are none, they agree with anything. A solution
    that the judge cannot read is left out.
    """
    if not labels:
        return [], 0
    try:
        session = await judge.open(labels[0].question)
    except RewardContextExceeded:
        return [], 0
    try:
        scores = await read_prefixes(session.score, labels)
        usage = session.usage
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()
    kept = [label for label, own in zip(labels, scores, strict=True) if own is not None and _agree(label, own)]
    return kept, usage.evaluated_tokens + usage.generated_tokens


def _agree(label: LabelledSolution, scores: Sequence[float]) -> bool:
    """Tell whether a judge's scores and the equations name the first error that the label names."""
    judged = next((number for number, score in enumerate(scores) if score < THRESHOLD), None)
    error = label.first_error
    sound = label.steps if error is None else label.steps[:error]
    return judged == error and not false_equations("".join(sound))
