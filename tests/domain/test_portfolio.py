"""The portfolio in every format: the same figures, harmless words, evidence that shows every change."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pypdf import PdfReader

from threads_agent_dagster.domain import portfolio as portfolios
from threads_agent_dagster.domain.portfolio import Portfolio, assemble, figures, headline, strongest, timeline
from threads_agent_dagster.domain.portfolio_csv import from_csv, to_csv
from threads_agent_dagster.domain.portfolio_html import html, web
from threads_agent_dagster.domain.portfolio_manifest import (
    CANONICAL,
    Check,
    canonical,
    check_files,
    check_items,
    check_seal,
    item_documents,
    manifest,
    manifest_file,
    portfolio_sha256,
    read_embedded,
)
from threads_agent_dagster.domain.portfolio_markdown import LINKEDIN_LIMIT, escaped, linkedin, markdown, units
from threads_agent_dagster.domain.portfolio_pdf import pdf
from threads_agent_dagster.domain.portfolio_resume import json_resume
from threads_agent_dagster.domain.portfolio_text import SUMMARY_LIMIT, line, link, shortened, summary
from threads_agent_dagster.errors import InvalidInput

MADE = datetime(2026, 7, 1, 12, tzinfo=UTC)
SCHEMA = json.loads(Path(__file__).with_name("json_resume_1_0_0.schema.json").read_text())
WRITERS: dict[str, Callable[[Portfolio], bytes]] = {
    "md": markdown, "html": html, "pdf": pdf, "json-resume": json_resume, "csv": to_csv, "linkedin": linkedin,
    "web": web,
}  # fmt: skip
SEALED = {name: WRITERS[name] for name in ("md", "html", "pdf", "json-resume")}
CLAIM = {
    "kind": "time", "amount": 200.0, "unit": "hours", "period": "year", "metric": None,
    "quote": "Saves 200 developer hours annually.", "confidence": 0.9,
}  # fmt: skip


def row(id_: int = 1, **told: Any) -> dict[str, Any]:
    """A row as the table holds it."""
    values: dict[str, Any] = {
        "id": id_,
        "source_key": f"git:acme/app:{id_:040x}",
        "source_type": "git",
        "source_url": f"https://github.com/acme/app/commit/{id_:040x}",
        "repository": "acme/app",
        "merge_sha": f"{id_:040x}",
        "title": f"Change number {id_}",
        "description": "Makes it better.",
        "category": "feature",
        "portfolio_section": None,
        "author_name": "Ada Lovelace",
        "author_login": "ada",
        "started_at": datetime(2026, 3, 1, tzinfo=UTC),
        "completed_at": datetime(2026, 3, 2, 23, 30, tzinfo=UTC),
        "impact_score": 42.5,
        "complexity_score": 0.0,
        "time_saved_hours": None,
        "performance_improvement_pct": None,
        "business_value": None,
        "skills": [{"name": "Python", "evidence": "src/private/path.py"}],
        "scorer_version": "1",
        "impact_rules": [
            {"name": "size: hand-written lines", "input": 300, "weight": 24, "points": 12.5},
            {"name": "kind of change", "input": 0.9, "weight": 30, "points": 30},
            {"name": "reviewed by others: people", "input": None, "weight": 5, "points": 0},
        ],
        "complexity_rules": [],
    }
    return values | told


def made(*rows: dict[str, Any]) -> Portfolio:
    return assemble(rows, MADE)


def pages(body: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(body)).pages)


def readable(body: bytes) -> str:
    """Everything that a file says, also where it is compressed."""
    if body.startswith(b"%PDF"):
        return pages(body) + body.decode("latin-1")
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return "".join(archive.read(name).decode() for name in archive.namelist())
    return body.decode()


# --- what is shown, and in which order ---------------------------------------------------------------------------


def test_sections_stand_where_their_first_item_does() -> None:
    shown = made(row(3, portfolio_section="Platform"), row(1, category="bugfix"), row(2, portfolio_section="Platform"))
    assert [(section.name, [item.id for item in section.items]) for section in shown.sections] == [
        ("Platform", [3, 2]),
        ("Bugfix", [1]),
    ]


def test_a_portfolio_of_one_person_is_theirs() -> None:
    assert made(row(1), row(2)).title == "Portfolio of Ada Lovelace"
    assert made(row(1), row(2, author_name="Ben")).title == "Portfolio"
    assert made(row(1, author_name=None)).owner == "ada"


def test_figures_are_sums_and_none_where_nothing_was_measured() -> None:
    sums = figures(made(row(1, time_saved_hours=3.5), row(2, impact_score=None), row(3, repository=None)))
    assert (sums.achievements, sums.repositories, sums.avg_impact, sums.time_saved_hours) == (3, 1, 42.5, 3.5)
    empty = figures(made(row(1, impact_score=None, completed_at=None)))
    assert (empty.avg_impact, empty.time_saved_hours, empty.first) == (None, None, None)


def test_the_headline_says_how_much_and_when() -> None:
    later = datetime(2026, 5, 31, 23, tzinfo=UTC)
    assert headline(made(row())) == "1 change in 1 repository, March 2026"
    assert headline(made(row(), row(2, completed_at=later))) == "2 changes in 1 repository, March 2026 – May 2026"


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ((2026, 1), (2026, 3), ["Jan 2026", "Feb 2026", "Mar 2026"]),
        ((2020, 12), (2023, 2), ["Q4 2020", *(f"Q{n % 4 + 1} {2021 + n // 4}" for n in range(8)), "Q1 2023"]),
        ((2001, 5), (2009, 5), [str(year) for year in range(2001, 2010)]),
        ((1990, 5), (2026, 5), ["1990–1999", "2000–2009", "2010–2019", "2020–2029"]),
    ],
)
def test_the_timeline_has_no_gaps(first: tuple[int, int], last: tuple[int, int], labels: list[str]) -> None:
    ends = (datetime(*first, 15, tzinfo=UTC), datetime(*last, 15, tzinfo=UTC))
    periods = timeline(made(*(row(nth, completed_at=end) for nth, end in enumerate(ends))))
    assert [period.label for period in periods] == labels
    assert [period.achievements for period in periods] == [1, *[0] * (len(labels) - 2), 1]


def test_the_strongest_are_the_highest_scored() -> None:
    rows = (row(nth, impact_score=score) for nth, score in enumerate((5.0, None, 7.0, 7.0)))
    assert [item.id for item in strongest(made(*rows), 2)] == [2, 3]


@pytest.mark.parametrize("value", [None, "0", "5000", 0, 5000.5, True, [], {}, '{"claims": []}', {"claims": "5000"}])
@pytest.mark.parametrize("form", WRITERS)
def test_every_stored_value_can_be_exported(form: str, value: object) -> None:
    """The predecessor's failure obs-13: HTTP 500 for a business value of None, '0', '5000' or a JSON string."""
    assert WRITERS[form](made(row(business_value=value)))


# --- words -------------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "--> <b>out</b> <!--",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "'=quoted",
    "](javascript:alert(1))",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "see https://evil.example and www.evil.example now",
    "`code` ``more` *bold* __strong__ ~~gone~~ | a | b |",
    "# not a heading #",
    "1. not a list",
    "- not a list",
    "+ not a list",
    "> not a quotation",
    "&lt;b&gt; &amp; &#106;",
    "end\\",
    "quote \" and ' and ,;",
    "<para><font color='red'>x</font></para>",
    '"document_sha256":"' + "0" * 64 + '"',
    '{"format":"threads-agent-portfolio/1","items":[]}',
]
UNSEEN = "a\u202eb\u2066c\u200bd\ufeffe\u0007f\x1b[31mg\x7fh\U000e0041i"


class Page(HTMLParser):
    """What a page holds: its elements with attributes, the text of its headings; nesting must be right."""

    VOID = ("meta",)

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.feed(body.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "h3":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "h3" in self.open:
            self.headings[-1] += data


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_is_only_a_title_in_html(title: str) -> None:
    page = Page(html(made(row(title=title, description=title, repository=title, author_name=title))))
    assert [" ".join(heading.split()) for heading in page.headings] == [title]
    assert [values for tag, values in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "manifest"}
    ]
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"img", "iframe", "object", "embed", "form", "base", "link", "b2"}
    )
    assert not [name for _, values in page.elements for name in values if name.startswith("on") or name == "style"]
    links = {values["href"] for tag, values in page.elements if tag == "a"}
    assert links == {f"https://github.com/acme/app/commit/{1:040x}"}


def test_html_requests_nothing() -> None:
    page = Page(html(made(row(1), row(2, impact_score=50.0), row(3, completed_at=MADE))))
    assert not [values for _, values in page.elements if "src" in values or "srcset" in values]
    outside = [(tag, name) for tag, values in page.elements for name, value in values.items() if "//" in (value or "")]
    assert set(outside) == {("a", "href")}
    body = html(made(row())).decode()
    assert "url(" not in body
    assert "@import" not in body
    (policy,) = (values["content"] for tag, values in page.elements if values.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_html_draws_the_timeline_and_the_impact() -> None:
    page = Page(html(made(row(1), row(2, completed_at=MADE, impact_score=90.25))))
    widths = [values["width"] for tag, values in page.elements if tag == "rect" and values.get("height") == "4"]
    assert widths == ["90.25", "42.50"]
    (chart,) = (values for tag, values in page.elements if values.get("class") == "timeline")
    assert chart["aria-label"] == "Mar 2026: 1, Apr 2026: 0, May 2026: 0, Jun 2026: 0, Jul 2026: 1"


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_is_only_a_title_in_markdown(title: str) -> None:
    text = markdown(made(row(title=title, description=title, repository=title, author_name=title))).decode()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    titles = [_said(token) for before, token in pairwise(tokens) if before.tag == "h3" and token.children]
    assert titles == [title]
    inline = [child for token in tokens for child in token.children or ()]
    assert [token.type for token in tokens if token.type == "html_block"] == ["html_block"]  # the manifest, a comment
    assert "html_inline" not in {child.type for child in inline}
    assert {child.type for child in inline} <= {
        "text", "text_special", "softbreak", "link_open", "link_close", "strong_open", "strong_close", "code_inline",
    }  # fmt: skip
    links = {child.attrs["href"] for child in inline if child.type == "link_open"}
    assert links == {f"https://github.com/acme/app/commit/{1:040x}"}
    assert not re.search(r"(?<!\\)(https?|ftp)://(?!github\.com/acme)", text.partition("<!--")[0])


def _said(token: Any) -> str:
    return "".join(child.content for child in token.children)


@given(st.text(min_size=1, max_size=60))
def test_any_words_are_themselves_in_markdown(words: str) -> None:
    said = line(words)
    if said is not None:
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"{escaped(said)}\n")
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
        assert _said(tokens[1]) == said


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_is_only_a_title_in_csv(title: str) -> None:
    body = to_csv(made(row(title=title, description=title, repository=title, author_name=title)))
    for cells in csv.reader(io.StringIO(body.decode("utf-8-sig"))):
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    (document,), _ = from_csv(body)
    assert document["title"] == title


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_is_only_a_title_in_pdf(title: str) -> None:
    body = pdf(made(row(title=title, description=title, repository=title, author_name=title)))
    document = PdfReader(io.BytesIO(body))
    text = re.sub(r"\s", "", pages(body))
    assert re.sub(r"\s", "", title) in text
    root = document.trailer["/Root"]
    assert {"/OpenAction", "/AA", "/AcroForm"}.isdisjoint(root)
    assert list(root["/Names"]) == ["/EmbeddedFiles"]
    actions = [note.get_object()["/A"] for page in document.pages for note in page.get("/Annots", [])]
    assert {action["/URI"] for action in actions} == {f"https://github.com/acme/app/commit/{1:040x}"}


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_unseen_is_written(form: str) -> None:
    body = WRITERS[form](made(row(title=UNSEEN, description=UNSEEN, repository=UNSEEN, author_name=UNSEEN)))
    text = pages(body) if form == "pdf" else readable(body).removeprefix("\ufeff")
    assert "abcde f [31mg hi" in text
    assert not re.search(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]", text
    )


PRIVATE = """Adds a cache in front of the slow reader, see [the issue](https://github.com/acme/app/issues/4).

```python
password = "hunter2-fenced"
```

    indented = "hunter2-indented"

diff --git a/x b/x
@@ -1 +1 @@
-old = "hunter2-diff"
+new = "hunter2-diff"

<!-- hunter2-comment -->

| hunter2-table |
|---|

Signed-off-by: Hunter Two <hunter2@example.com>
"""


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    "description",
    [
        PRIVATE,
        "\n\n".join(reversed(PRIVATE.split("\n\n"))),
        "Uses `x = hunter2()` and hunter2@example.com.",
        "```\nhunter2",
    ],
)
def test_code_and_addresses_stay_on_the_machine(form: str, description: str) -> None:
    text = readable(WRITERS[form](made(row(description=description))))
    assert "hunter2" not in text
    assert "src/private/path.py" not in text


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (None, None),
        ("", None),
        ("---\n## Summary\n\nIt is faster now.\n\nAnd more.", "It is faster now."),
        ("First line\nand second.", "First line and second."),
        ("- one\n- [x] two\n* three", "one · two · three"),
        ("1. one\n2. two", "one · two"),
        ("Renames `old_name` to `new/name.py`, **boldly**.", "Renames old_name to new/name.py, boldly."),
        ("Calls `f(x)`.", "Calls …."),
        ("![badge](https://x.example/b.svg) Works <br> again", "Works again"),
        ("Fixes: #4\nIt works.", "It works."),
        ("~~~\ncode\n```\nstill code\n~~~\nProse.", "Prose."),
        ("A paragraph\n    that is indented on.", "A paragraph that is indented on."),
        ("…!?", None),
    ],
)
def test_the_summary_is_the_first_paragraph_of_prose(description: str | None, said: str | None) -> None:
    assert summary(description) == said


def test_a_long_summary_ends_after_a_word() -> None:
    said = summary("word " * 500)
    assert said is not None
    assert len(said) <= SUMMARY_LIMIT
    assert said.endswith("word…")
    assert shortened("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://github.com/acme/app/pull/4?a=1#b", "https://github.com/acme/app/pull/4?a=1#b"),
        ("HTTP://example.com/ä b<>\"'()\\", "http://example.com/%C3%A4%20b%3C%3E%22'()%5C"),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("//evil.example", None),
        ("https://", None),
        ("https://token:secret@github.com/acme", None),
        ("https://[bad", None),
        ("java\nscript:alert(1)", None),
        ("", None),
        (None, None),
    ],
)
def test_only_plain_web_addresses_are_links(url: str | None, shown: str | None) -> None:
    assert link(url) == shown


# --- formats -----------------------------------------------------------------------------------------------------

FULL = (
    row(1, business_value={"claims": [CLAIM]}, time_saved_hours=200.0, performance_improvement_pct=75.0),
    row(2, impact_score=None, impact_rules=None, complexity_score=None, complexity_rules=None, completed_at=None,
        started_at=None, merge_sha=None, source_url=None, repository=None, scorer_version=None, skills=[]),
    row(3, title="Grüße, мир, 世界 👋", portfolio_section="Other"),
)  # fmt: skip


def test_json_resume_passes_the_published_schema() -> None:
    validator = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    for rows in (FULL, FULL[1:2], (row(title=HOSTILE[0], author_name=None, author_login=None),)):
        validator.validate(json.loads(json_resume(made(*rows))))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"projects": [{"startDate": "yesterday"}]})


def test_json_resume_holds_the_figures_of_the_table() -> None:
    document = json.loads(json_resume(made(*FULL)))
    names = ("impact_score", "complexity_score", "time_saved_hours", "performance_improvement_pct")
    shown = [{name: project.get(name) for name in names} for project in document["projects"]]
    assert shown == [{name: one[name] for name in names} for one in FULL]
    first = document["projects"][0]
    assert (first["startDate"], first["endDate"]) == ("2026-03-01", "2026-03-02")
    assert CLAIM["quote"] in first["highlights"]
    assert document["skills"] == [{"name": "Python", "keywords": ["feature"]}]


def test_csv_holds_the_figures_of_the_table_and_reads_back_whole() -> None:
    shown = made(*FULL)
    documents, whole = from_csv(to_csv(shown))
    assert documents == item_documents(shown)
    assert whole == json.loads(manifest(shown))["portfolio_sha256"]
    for one, document in zip(FULL, documents, strict=True):
        assert (one["impact_score"], one["time_saved_hours"]) == (
            document["impact_score"],
            document["time_saved_hours"],
        )


@given(st.text(max_size=80), st.floats(0, 100), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_row_reads_back_whole_from_csv(title: str, score: float, hours: float | None) -> None:
    shown = made(row(title=title, description=title, impact_score=score, time_saved_hours=hours))
    assert from_csv(to_csv(shown))[0] == item_documents(shown)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"a,b\r\n",
        b'"',
        to_csv(made(row())) + b'"torn"\r\n',
        to_csv(made(row())) + b"\r\n",
        to_csv(made(row())).replace(b"42.5,", b'"much",', 1),
    ],
)
def test_what_is_no_such_csv_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        from_csv(body)


def test_rows_of_two_exports_are_no_portfolio() -> None:
    one, other = to_csv(made(row(1), row(2))), to_csv(made(row(1), row(3)))
    assert from_csv(one + other.splitlines(keepends=True)[2])[1] == ""


def test_a_post_stays_within_the_limit_and_starts_with_the_strongest() -> None:
    rows = [row(nth, title=f"{nth} " + "👋" * 100, impact_score=float(nth)) for nth in range(100)]
    post = linkedin(made(*rows)).decode()
    assert LINKEDIN_LIMIT - 300 < units(post) <= LINKEDIN_LIMIT
    assert re.findall(r"• (\d+) ", post)[:3] == ["99", "98", "97"]
    assert json.loads(manifest(made(*rows)))["portfolio_sha256"] in post


def test_a_post_says_what_is_claimed() -> None:
    post = linkedin(made(*FULL)).decode()
    claimed = "200 hours saved in a year, as claimed · 75 % better performance, as claimed"
    assert f"• Change number 1\n  impact 42.5 of 100 · {claimed}\n" in post
    assert "• Change number 2\n" in post


def test_the_pdf_can_be_read_and_carries_its_manifest() -> None:
    body = pdf(made(*FULL))
    text = pages(body)
    for words in ("Portfolio", "Ada Lovelace", "Change number 1", "Saves 200 developer hours annually.", "Grüße, мир"):
        assert words in text
    assert "42.5 = kind of change 30 + size 12.5" in text
    document = PdfReader(io.BytesIO(body))
    (attached,) = document.attachments["manifest.json"]
    assert json.loads(attached) == read_embedded(body)
    assert document.metadata is not None
    assert document.metadata.creation_date == MADE
    assert document.metadata.title == "Portfolio of Ada Lovelace"


def test_a_long_portfolio_fills_many_pages() -> None:
    rows = [row(nth, title=f"Change {nth} " + "word " * 40, description="long " * 400) for nth in range(60)]
    assert len(PdfReader(io.BytesIO(pdf(made(*rows)))).pages) > 10


def test_the_web_folder_holds_page_data_and_manifest() -> None:
    with zipfile.ZipFile(io.BytesIO(web(made(*FULL)))) as archive:
        assert archive.testzip() is None
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert list(contents) == ["index.html", "data.json", "manifest.json"]
    data = json.loads(contents["data.json"])
    assert data["items"] == item_documents(made(*FULL))
    assert data["figures"]["first"] == "2026-03-02"


@pytest.mark.parametrize("form", WRITERS)
def test_the_same_portfolio_gives_the_same_bytes(form: str) -> None:
    assert WRITERS[form](made(*FULL)) == WRITERS[form](made(*FULL))


# --- evidence ----------------------------------------------------------------------------------------------------


def held(checks: list[Check]) -> dict[str, bool | None]:
    return {check.name: check.passed for check in checks}


@pytest.mark.parametrize("title", ["Plain", *HOSTILE[-2:]])
@pytest.mark.parametrize("form", SEALED)
def test_a_sealed_file_holds_until_a_byte_of_it_changes(form: str, title: str) -> None:
    body = SEALED[form](made(row(title=title), *FULL[1:]))
    assert check_seal(body).passed
    chance = random.Random(13)
    for position in [0, len(body) - 1, *(chance.randrange(len(body)) for _ in range(300))]:
        changed = bytearray(body)
        changed[position] ^= chance.randrange(1, 256)
        assert not _holds(bytes(changed)), position
    for longer in (body + b" ", body[:-1]):
        assert not _holds(longer)


def _holds(body: bytes) -> bool:
    try:
        return check_seal(body).passed is True
    except InvalidInput:
        return False


@pytest.mark.parametrize("form", ["md", "html", "pdf"])
def test_the_manifest_can_be_read_out_of_the_file(form: str) -> None:
    shown = made(*FULL, row(4, title=HOSTILE[-1]))
    found = read_embedded(SEALED[form](shown))
    assert found["items"] == item_documents(shown)
    assert all(held(check_items(found["items"], found["portfolio_sha256"])).values())
    assert found["privacy"] == "metadata"
    assert found["items"][0]["impact_rules"] == FULL[0]["impact_rules"]


@pytest.mark.parametrize(
    ("field", "value", "failing"),
    [
        ("title", "Grander", {"every achievement is unchanged"}),
        ("merge_sha", "f" * 40, {"every achievement is unchanged"}),
        ("impact_score", 99.0, {"every achievement is unchanged", "every score is the sum of its rules"}),
        ("impact_rules", [], {"every achievement is unchanged", "every score is the sum of its rules"}),
        (
            "impact_rules",
            [{"points": "42.5"}],
            {"every achievement is unchanged", "every score is the sum of its rules"},
        ),
        ("content_sha256", "0" * 64, {"every achievement is unchanged", "none was added or taken away"}),
    ],
)
def test_an_achievement_that_was_changed_is_found(field: str, value: object, failing: set[str]) -> None:
    documents = item_documents(made(*FULL))
    whole = portfolio_sha256(document["content_sha256"] for document in documents)
    documents[0][field] = value
    assert {name for name, passed in held(check_items(documents, whole)).items() if not passed} == failing


def test_an_achievement_that_was_added_or_taken_away_is_found() -> None:
    documents = item_documents(made(*FULL))
    whole = portfolio_sha256(document["content_sha256"] for document in documents)
    for others in (documents[1:], [*documents, documents[0]], documents[::-1]):
        assert held(check_items(others, whole))["none was added or taken away"] is False


@given(
    st.text(st.characters()), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**80), 2**80), st.none()
)
@settings(max_examples=200)
@example("half of a pair \ud83d, a \x7f, and 1e5", 1e-5, 2**70, None)
@example("3e-5,", 1e16, 0, None)
@example("", 9.5e-5, 0, None)
def test_canonical_json_is_python_s_byte_for_byte(text: str, real: float, whole: int, nothing: None) -> None:
    rules = [{"name": text, "input": one, "weight": real, "points": whole} for one in (text, real, whole, nothing)]
    other = [{"name": text, "points": 1, "because": text}]
    claims = [{**CLAIM, "quote": text, "amount": real}]
    document = made(row(impact_rules=rules, complexity_rules=other)).items[0].to_document()
    document |= {"title": text, "claims": claims, "skills": [text], "impact_score": real}
    assert canonical(document) == CANONICAL.encode(document)


@pytest.mark.parametrize("url", ["https://a.example", "https://a.example/", "http://a-b.example/~c//d/../e.f/g_h-i"])
def test_a_plain_address_is_the_link_that_the_parser_gives(url: str) -> None:
    assert link(url) == urlsplit(url).geturl() == url


def test_files_beside_the_manifest_are_checked() -> None:
    found = json.loads(manifest_file(made(row()), {"a": b"1", "b": b"2"}))
    assert check_files(found, {"a": b"1", "b": b"2"}).passed
    for others in ({"a": b"1"}, {"a": b"1", "b": b"3"}, {"a": b"1", "b": b"2", "c": b""}):
        assert check_files(found, others).passed is False


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"# Portfolio",
        b'{"format":"threads-agent-portfolio/1"',
        b'{"format":"threads-agent-portfolio/1","items":[{}],"files":{}}',
        b'{"format":"threads-agent-portfolio/1","items":4,"files":{}}',
        b'{"format":"threads-agent-portfolio/1","items":' + b"[" * 100_000,
    ],
)
def test_what_has_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_embedded(body)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=300), min_size=1, max_size=4))
def test_any_words_can_be_exported(words: list[str]) -> None:
    shown = made(*(row(nth, title=word, description=word, portfolio_section=word) for nth, word in enumerate(words)))
    for write in WRITERS.values():
        assert write(shown)
    for write in SEALED.values():
        assert check_seal(write(shown)).passed


def test_numbers_are_said_plainly() -> None:
    assert [portfolios.number(value) for value in (0.0, 73.0, 73.25, 12345.67)] == ["0", "73", "73.2", "12,345.7"]
