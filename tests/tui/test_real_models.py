"""The terminal UI on a real model: a question is typed, searched, answered and saved."""

from __future__ import annotations

import pytest

from ramify.tui.state.engine_host import make_engine
from ramify.tui.state.spec import RunSpec

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]

QUESTION = "Tom has 3 apples and buys 4 more. How many apples does he have now?"
PATIENCE_S = 180.0


@pytest.fixture
def asked(real_model) -> RunSpec:
    model = str(real_model("smollm2"))
    return RunSpec(QUESTION).with_options(model=model, prompt_preset="gsm8k", width=2, max_generated_tokens=200)


async def test_a_question_is_searched_answered_and_saved(asked, ui, store):
    async with ui(engine=make_engine, spec=asked, ask=True) as user:
        user.patience_s = PATIENCE_S
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.over()
        answer = user.view.answer
        assert answer is not None and answer in user.text()
        assert "Tom has 3" in user.text()
        assert "smollm2-135m" in user.session.models
        assert not user.toasts
    [saved] = store.list()
    assert (saved.question, saved.answer) == (QUESTION, answer)
