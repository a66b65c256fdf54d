"""What a replica of a language model holds at once: which prompts fit ever, which now, and how long their answers may be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from xinfer.errors import InvalidItem


@dataclass(frozen=True, slots=True)
class Capacity:
    """Room of one replica.

    Attributes:
        context_tokens: longest prompt and answer of one sequence together.
        kv_tokens: of all its sequences together.
        places: sequences.
    """

    context_tokens: int
    kv_tokens: int
    places: int

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that fits, alone."""
        return min(self.context_tokens, self.kv_tokens)

    def answer_tokens(self, prompt_tokens: int, max_tokens: int | None) -> int:
        """How many tokens the answer to a prompt of that length may have, at least 1.

        Raises:
            InvalidItem: the prompt leaves no room for a single one.
        """
        left = self.longest - prompt_tokens
        if left < 1:
            raise InvalidItem(
                f"messages: the prompt has {prompt_tokens:,} tokens; the longest that leaves room for an answer here has "
                f"{self.longest - 1:,}.",
                param="messages",
                prompt_tokens=prompt_tokens,
                context_tokens=self.longest,
            )
        return left if max_tokens is None else min(left, max_tokens)

    def has_room(self, held: Collection[int], wanted: int) -> bool:
        """Whether a sequence of at most ``wanted`` tokens can begin beside those that hold ``held`` each."""
        return len(held) < self.places and sum(held) + wanted <= self.kv_tokens
