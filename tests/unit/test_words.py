"""Product code and documents use the field's terms: a list of words that had private meanings, or none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

WORDS: Final = (
    *("told", "tell", "tells", "telling", "whoever", "nobody", "somebody", "innards", "dear", "politeness", "polite"),
    *("settle", "settles", "settled", "refusal", "refusals", "wanted", "moment", "moments"),
)
"""Not to be used as a word, nor as a part of an identifier."""

PHRASES: Final = (
    *("beside the way", "as their names say", "as its name says", "see there", "by and by", "sign of life"),
    *("signs of life", "handed on", "hand on", "looks on", "stands on", "gives up", "given up"),
)

EXEMPT: Final = {
    "connectors/fingerprint.py": ["settled"],  # a key of fingerprints that databases hold
    "fbs_worker/ops/local/embedded/postgres.py": ["nobody"],  # an account of Unix
}

_PARTS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""The words of a text, those within `snake_case` and `CamelCase` as well."""


def texts(root: Path) -> Iterator[Path]:
    """What a reader of the product reads: code, templates and documents."""
    for folder in ("fbs_worker", "connectors", "tasks"):
        for ending in ("*.py", "*.html"):
            yield from (path for path in (root / folder).rglob(ending) if not path.parent.is_symlink())
    yield from root.glob("*.md")
    yield from (root / "docs").rglob("*.md")
    yield from (root / "examples").rglob("*.py")


def banned(text: str) -> Sequence[str]:
    """The banned words and phrases of a text, each as often as it is there."""
    words = [part.lower() for part in _PARTS.findall(text)]
    folded = " ".join(text.lower().split())
    return [word for word in words if word in WORDS] + [
        phrase for phrase in PHRASES for _ in range(folded.count(phrase))
    ]


def test_product_and_documents_use_standard_terms() -> None:
    found = {str(path.relative_to(ROOT)): sorted(words) for path in texts(ROOT) if (words := banned(path.read_text()))}
    assert found == EXEMPT


def test_words_within_identifiers_count() -> None:
    assert banned("_told_of = Whoever.tellsIt(TOLD)  # retold, foretell, beside\n the way") == [
        *("told", "whoever", "tells", "told"),
        "beside the way",
    ]


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    counts = {path: len(words) for path in texts(root) if (words := banned(path.read_text()))}
    sys.stdout.writelines(f"{count:5} {path.relative_to(root)}\n" for path, count in sorted(counts.items()))
    sys.stdout.write(f"{sum(counts.values()):5} in all\n")
