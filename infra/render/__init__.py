"""Decisions in the words and pictures that people and programs read. Pure functions of decision, request, snapshot."""

from infra.render.answer import decision_answer, error_answer
from infra.render.markdown import decision_markdown
from infra.render.picture import decision_svg
from infra.render.prose import change_text, outcome_text, reason_text
from infra.render.terminal import decision_view

__all__ = [
    "change_text",
    "decision_answer",
    "decision_markdown",
    "decision_svg",
    "decision_view",
    "error_answer",
    "outcome_text",
    "reason_text",
]
