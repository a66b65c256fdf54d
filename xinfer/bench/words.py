"""English-like text: ordinary words in sentences, so that a tokeniser splits it as it does prose."""

from __future__ import annotations

import random

WORDS = (
    "a about above across after again against all almost also always among an and another any are as at away back be because been "
    "before behind below between both bring but by call can carry change close cold come could cross cut day did do does done down "
    "each early east end enough even ever every few find first follow for found from full gave give go good great grow had half hand "
    "has have he head hear help her here high him his hold how if in into is it its just keep kind know land large last late learn "
    "leave left less let light like line little live long look low made make many may men might more most move much must name near "
    "need never new next night no north not now of off often old on once one only open or order other our out over own part people "
    "place plain plan point put quick rain read real right road room round run said same saw say sea second see seem set she short "
    "should show side since slow small so some soon south stand start state still stop story such sure take talk tell ten than that "
    "the their them then there these they thing think this those though three through time to too took top toward town tree true try "
    "turn two under until up upon us use very walk want warm was watch water way we well went were west what when where which while "
    "white who why will wind winter with without word work world would year yet you young your "
    "ability account achievement agreement agriculture announcement application arrangement atmosphere attention authority "
    "behaviour building business candidate century chemistry circumstance civilisation climate coastline collection comparison "
    "conclusion condition construction conversation correspondence development difference direction discovery distribution document "
    "economy education electricity embroidery employment engineer environment equipment evidence examination exhibition experience "
    "explanation expression foundation geography government harvesting hospital hypothesis imagination improvement independence "
    "industry information instrument interpretation investigation journalism knowledge laboratory language lighthouse literature "
    "machinery manufacturing mathematics measurement medicine microscope migration mountain negotiation neighbourhood newspaper "
    "observation ocean opportunity orchestra organisation parliament particular performance philosophy photograph physician "
    "population possibility precipitation preparation procedure production quantity question railway recommendation refrigerator "
    "relationship representative responsibility restaurant satellite science settlement shipbuilding significance society "
    "statistics structure temperature territory thunderstorm tradition transformation translation transportation university "
    "vegetation vocabulary volcano wilderness workshop"
).split()

SENTENCE = (6, 18)
"""Fewest and most words of a sentence."""


def text(dice: random.Random, fewest: int, most: int) -> str:
    """Sentences of ``fewest`` to ``most`` words altogether."""
    left = dice.randint(fewest, most)
    sentences = []
    while left > 0:
        length = min(left, dice.randint(*SENTENCE))
        sentences.append(" ".join(dice.choices(WORDS, k=length)).capitalize() + ".")
        left -= length
    return " ".join(sentences)
