"""The 47 classes of EMNIST Balanced and the charsets one can restrict a job to. Knows nothing of images or networks.

Cohen, Afshar, Tapson, van Schaik, "EMNIST: an extension of MNIST to handwritten letters" (2017), section II-B: for
letters whose upper and lower case look alike, both cases are one class, named here by its capital.
"""

from difflib import get_close_matches

from glyphq.errors import InvalidOption

LABELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
"""Class index -> character, in the order of `emnist-balanced-mapping.txt`."""

MERGED_CASES = "CIJKLMOPSUVWXYZ"
"""Letters whose class stands for both cases: the label `C` means C or c."""

NAMED_CHARSETS = {
    "all": LABELS,
    "digits": LABELS[:10],
    "letters": LABELS[10:],
}


def label_of(character: str) -> str:
    """The EMNIST Balanced label of one of the 62 alphanumeric characters: `c` -> `C`, `a` -> `a`."""
    return character.upper() if character.upper() in MERGED_CASES else character


def charset_classes(charset: str) -> tuple[int, ...]:
    """The class indices, ascending, that a charset allows.

    `charset` is a name from `NAMED_CHARSETS` or any string of classes; a lower-case letter that is merged with its
    capital means the merged class. Raises InvalidOption for an empty charset, a character that is no class,
    or what looks like a name misspelt.
    """
    if charset in NAMED_CHARSETS:
        return tuple(sorted(LABELS.index(label) for label in NAMED_CHARSETS[charset]))
    meant = get_close_matches(charset, NAMED_CHARSETS, n=1, cutoff=0.8)
    if meant:
        raise InvalidOption("charset", f"There is no charset {charset!r}; did you mean {meant[0]}?")
    labels = {label_of(character) for character in charset}
    unknown = sorted(labels - set(LABELS))
    if unknown or not labels:
        named = ", ".join(NAMED_CHARSETS)
        what = f"has characters that are no class ({''.join(unknown)!r})" if unknown else "is empty"
        raise InvalidOption("charset", f"The charset {what}. Use one of {named}, or a string of classes from {LABELS}.")
    return tuple(sorted(LABELS.index(label) for label in labels))
