"""Where in a Cedar text something is: Cedar itself names neither line nor column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate

import cedarpy

_TOKEN = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*|\d+|::|&&|\|\||[=!<>]=|\s+|.', re.DOTALL)
_UNFINISHED = "unexpected end of input"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One policy of a text, from its first annotation to its semicolon.

    Attributes:
        line: Line of its first token, from 1.
    """

    text: str
    line: int
    tokens: tuple[tuple[str, int], ...]

    def line_of(self, word: str) -> int:
        """The first line that has this token, else the first line."""
        wanted = (word, f'"{word}"')
        return next((line for token, line in self.tokens if token in wanted), self.line)


def chunks_of(text: str) -> tuple[Chunk, ...]:
    """The policies of a text in their order, whether they are correct or not; comments are left out."""
    found, tokens = [], []
    pieces = _TOKEN.findall(text)
    lines = accumulate((piece.count("\n") for piece in pieces), initial=1)
    for piece, line in zip(pieces, lines, strict=False):
        if piece.isspace() or piece.startswith("//"):
            continue
        tokens.append((piece, line))
        if piece == ";":
            found.append(_chunk(tokens))
            tokens = []
    return (*found, _chunk(tokens)) if tokens else tuple(found)


def _chunk(tokens: list[tuple[str, int]]) -> Chunk:
    return Chunk(" ".join(token for token, _ in tokens), tokens[0][1], tuple(tokens))


def syntax_error(text: str) -> tuple[int, str] | None:
    """Line and problem of the first thing that is no Cedar, or ``None``.

    The first token after which the beginning of a policy is not merely unfinished is the wrong one.
    """
    for chunk in chunks_of(text):
        problem = _problem(chunk.text)
        if problem is None:
            continue
        for end in range(1, len(chunk.tokens)):
            begun = _problem(" ".join(token for token, _ in chunk.tokens[:end]))
            if begun not in (None, _UNFINISHED):
                return chunk.tokens[end - 1][1], f"{begun} ({chunk.tokens[end - 1][0]})"
        named = [word for word in re.findall(r"\w+", problem) if word in dict(chunk.tokens)]
        return (chunk.line_of(named[-1]) if named else chunk.tokens[-1][1]), problem
    problem = _problem(text)
    return None if problem is None else (1, problem)


def _problem(text: str) -> str | None:
    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return None
