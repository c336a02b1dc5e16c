"""Whether a text is English, which is what the packaged scorers were trained on.

A short text without any telling word counts as English: a wrong "unsupported" loses a post, a wrong "English" shows
up as scores near neutral.
"""

from __future__ import annotations

import re
from typing import Final

_MIN_WORDS = 3  # names and loan words come alone
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ADDRESS: Final = re.compile(r"https?://\S+|[@#]\w+")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_ENGLISH: Final = _words("""
    the and you that it is was for are with his they at be this have from or had by but what all were we when your
    can said there use an each which she how their if will up other about out then them these some her would make like
    him into time has look two more go see no way could my than been call who now find long down did get come made may
    i i'm it's don't can't i'll i've you're that's didn't not so just of to our very really why because am its
    good love today day happy know think new got want feel people never still only as in on
""")
# Frequent words of the languages most often met; those that English uses too are taken out below.
_FOREIGN: Final = _words("""
    el los las una que por para con del como pero muy más está estoy esto eso porque cuando también hoy qué nunca mi
    mucho quiero eres gracias son tengo siempre nada fue
    le des est pas une dans pour qui sur avec vous je nous tout mais c'est j'ai très cette aussi être plus elle
    suis quel vraiment tu ça bien merci rien
    der das und ist nicht ein eine ich mit auf für sich auch wir aber wie noch dem von zu sehr heute habe haben sind
    mir mich
    che una per sono della questo come anche più mi oggi molto è gli perché
    não uma você está muito mas isso meu minha hoje ele ela são eu foi também
    het een niet van ik zijn voor maar met ook heb dit zo naar vandaag
    och att det som är jag inte på för med av ikke jeg og på meg til tai ei se että
    nie się jest na że jak ale tak mnie dla bardzo dzisiaj
    bir ve bu için çok değil gibi ama daha bugün
    yang ini itu tidak saya aku dengan untuk ada hari banget sangat juga
    ang mga ng sa ako naman hindi na siya
    và là của không tôi có được này cho một
    nu și în că este sunt pentru
""") - _words("come plus pour mi per nu son")


def is_english(text: str) -> bool:
    words = _WORD.findall(_ADDRESS.sub(" ", text).lower().replace("’", "'"))
    if not text.isascii() and _mostly_other_script(words):
        return False
    distinct = set(words)
    foreign = len(distinct & _FOREIGN)
    if not text.isascii():
        foreign += sum(not word.isascii() for word in distinct - _FOREIGN)
    return foreign <= len(distinct & _ENGLISH) or len(words) < _MIN_WORDS


def _mostly_other_script(words: list[str]) -> bool:
    """Latin letters, accented ones included, lie below U+0250."""
    letters = "".join(words)
    return sum(letter > "\u024f" for letter in letters) * 2 > len(letters)
