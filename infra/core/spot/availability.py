"""What is known of a zone's spot capacity, learnt online: the age of the present spell and how long spells last here.

A *spell* is a stretch of ticks in which capacity was obtainable throughout, or unobtainable throughout. The chance that
the present spell ends soon is a hazard: a logistic function of its age and of the two running means of the logarithm of
the lengths of past spells. The running means are what is learnt in the zone itself; the coefficients are the prior that
all zones share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

BASE_STEP_H = 1.0 / 6.0
"""The step, in hours, that the coefficients of a model are for."""


@dataclass(frozen=True, slots=True)
class SpellModel:
    """How spells end, for all zones alike.

    Attributes:
        up: Coefficients of the logit of the chance that a spell of availability ends within ``BASE_STEP_H``: of 1,
            ``a``, ``a²``, ``u``, ``v``, ``a·u``, ``a·v``, where ``a`` is the logarithm of the spell's age and ``u`` and
            ``v`` the running means of the logarithm of lengths of spells with and without capacity, all in hours.
        down: The same for spells without capacity.
        memory: Weight of the old mean when a spell that ended is taken into it; the new spell has ``1 - memory``.
        typical_log_h: The running means before any spell has ended.
    """

    up: tuple[float, ...]
    down: tuple[float, ...]
    memory: float
    typical_log_h: float


@dataclass(frozen=True, slots=True)
class Spell:
    """A zone's spot capacity as seen so far, the present tick included.

    Attributes:
        available: Whether capacity is obtainable in the present tick.
        age_h: Hours that this has been so, the present tick counted whole.
        up_log_h: Running mean of the logarithm of the hours that past spells of availability lasted.
        down_log_h: The same of spells without.
    """

    available: bool
    age_h: float
    up_log_h: float
    down_log_h: float


def first_spell(model: SpellModel, available: bool, tick_h: float) -> Spell:
    """A zone of which one tick has been seen."""
    return Spell(available, tick_h, model.typical_log_h, model.typical_log_h)


def observe(model: SpellModel, spell: Spell, available: bool, tick_h: float) -> Spell:
    """The spell after one more tick."""
    if available == spell.available:
        return Spell(available, spell.age_h + tick_h, spell.up_log_h, spell.down_log_h)
    up_log_h, down_log_h = _ended(model, spell)
    return Spell(available, tick_h, up_log_h, down_log_h)


def learn(model: SpellModel, history: Iterable[object], tick_h: float) -> Spell:
    """What a whole history teaches: the same as observing its ticks one by one, oldest first.

    Raises:
        ValueError: The history is empty.
    """
    spell: Spell | None = None
    for available, ticks in groupby(bool(value) for value in history):
        up_log_h = down_log_h = model.typical_log_h
        if spell is not None:
            up_log_h, down_log_h = _ended(model, spell)
        spell = Spell(available, sum(1 for _ in ticks) * tick_h, up_log_h, down_log_h)
    if spell is None:
        raise ValueError("a history holds at least the present tick")
    return spell


def _ended(model: SpellModel, spell: Spell) -> tuple[float, float]:
    """The two running means once this spell has ended."""
    if spell.available:
        return _mean(model, spell.up_log_h, spell.age_h), spell.down_log_h
    return spell.up_log_h, _mean(model, spell.down_log_h, spell.age_h)


def _mean(model: SpellModel, mean_log_h: float, length_h: float) -> float:
    return model.memory * mean_log_h + (1.0 - model.memory) * math.log(length_h)


def end_chance(model: SpellModel, spell: Spell, step_h: float) -> float:
    """The chance, 0 to 1, that the spell ends within ``step_h`` hours."""
    age = math.log(spell.age_h)
    up, down = spell.up_log_h, spell.down_log_h
    one, of_age, of_square, of_up, of_down, of_age_up, of_age_down = model.up if spell.available else model.down
    logit = one + of_age * age + of_square * age * age + of_up * up + of_down * down
    logit += of_age_up * age * up + of_age_down * age * down
    # The chance of surviving a base step, (1 + e^logit)^-1, to the power of the number of base steps.
    return -math.expm1(-math.log1p(math.exp(min(logit, 50.0))) * step_h / BASE_STEP_H)
