"""HTML pages, well-formed and not."""

from pathlib import Path

import pytest

from ragctl.loaders.html import _walk_events, _walk_tree
from ragctl.loaders.html_page import HtmlPage
from ragctl.records import Heading
from tests.loading import check, load_one


def page(tmp_path: Path, html: str | bytes, name: str = "page.html") -> str:
    path = tmp_path / name
    path.write_bytes(html if isinstance(html, bytes) else html.encode())
    document = load_one(path)
    check(document)
    assert document.kind == "markdown"
    return document.text


PAGE = """<!doctype html>
<html><head><title>Leave &amp; absence</title><meta name="author" content="HR">
<style>p { color: red }</style><script>var drop = "me";</script></head>
<body><nav>Home | Menu</nav><main>
<h1>Annual <em>leave</em><a class="headerlink" href="#x">¶</a></h1>
<p>Everyone has <b>30</b> days.<br>Two weeks
   notice &lt;at least&gt;.</p>
<ul><li>first<ul><li>nested</li><li><p>two</p><p>paragraphs</p></li></ul></li><li>last</li></ul>
<ol><li>one<li>two</ol>
<table><caption>Days</caption><tr><th>Year</th><th>Days | all</th></tr>
<tr><td>1</td><td><p>30</p></td></tr></table>
<h2>Code</h2><pre><code class="language-python">def f():
    return 1
</code></pre>
<dl><dt>Term</dt><dd>Meaning</dd></dl>
<p># no heading</p><svg><text>drop</text></svg><template>drop</template><img alt="Org chart">
</main></body></html>"""

TEXT = """# Annual leave

Everyone has 30 days.
Two weeks notice <at least>.

- first
  - nested
  - two
    paragraphs
- last
1. one
2. two

Days

| Year | Days \\| all |
| --- | --- |
| 1 | 30 |

## Code

```python
def f():
    return 1
```

Term

- Meaning

\\# no heading

Org chart
"""


def test_a_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    document = load_one(path)
    assert document.title == "Leave & absence"
    assert document.meta == {"author": "HR"}
    assert document.headings == (
        Heading(0, 1, "Annual leave"),
        Heading(TEXT.index("## Code"), 2, "Code"),
    )
    assert document.text == TEXT


def test_navigation_is_left_out(tmp_path: Path) -> None:
    assert page(tmp_path, "<body><nav>Menu</nav><p>Text</p></body>") == "Text\n"
    assert page(tmp_path, "<body><nav>Menu</nav><article>Text</article></body>") == "Text\n"
    roles = '<div role="navigation"><div>Menu</div></div><div role="main">Text</div>'
    assert page(tmp_path, roles) == "Text\n"
    links = "<a href=a>Home</a> <a href=b>News</a> <a href=c>Jobs</a>"
    assert page(tmp_path, f'<div class="top-nav">{links}</div><p>Text</p>') == "Text\n"
    assert page(tmp_path, f"<nav>{links}</nav>") == "Home News Jobs\n"  # there is nothing else


PROSE = "The pump is checked each spring and each autumn. " * 20


@pytest.mark.parametrize(
    "html",
    [
        f"<main><p>Short.</p></main><aside><p>{PROSE}</p></aside>",
        f"<main></main><footer><p>{PROSE}</p></footer>",
        f"<nav><p>{PROSE}</p></nav><p>Short.</p>",
        f"<div class=content><p>{PROSE}</p></div><main>Short.</main>",
        f'<p>Loading</p><div style="display:none"><p>{PROSE}</p></div>',
        f'<body aria-hidden="true"><p>{PROSE}</p></body>',
        f'<div class="cookie-recipe"><h1>Cookies</h1><button>Print</button><p>{PROSE}</p></div>x',
        f'<div class="menu"><a href=a>Soup</a><a href=b>Fish</a><a href=c>Cake</a><p>{PROSE}</div>',
        f"<article><header>By Ann</header><p>{PROSE}</p></article>",
        f"<header><div>Menu <h1>{PROSE[:48]}</h1></div></header><main><p>Text</p></main>",
    ],
)
def test_an_article_is_never_lost(tmp_path: Path, html: str) -> None:
    assert PROSE[:48].strip() in page(tmp_path, html)


def test_beside_the_main_part_only_content_is_kept(tmp_path: Path) -> None:
    html = (
        "<header>Home News</header><main><h1>VPN</h1><aside>A note</aside><p>Ask 4410.</p></main>"
        "<aside>Related</aside><div role=contentinfo>Imprint</div><footer>Cookies</footer>"
    )
    assert page(tmp_path, html) == "# VPN\n\nA note\n\nAsk 4410.\n"


@pytest.mark.parametrize(
    "html",
    [
        "<p hidden>no</p>",
        '<p style="color:red; DISPLAY : none">no</p>',
        '<div style="visibility:hidden"><p>no</p></div>',
        '<span aria-hidden="true">no</span>',
        "<template><p>no</p></template>",
        "<noscript>no</noscript>",
        "<select><option>no<option>no</select>",
        "<datalist><option>no</datalist>",
        '<div id="cookie-banner">We use cookies, no? <button>Accept</button></div>',
        '<div class="cookie-notice">We use cookies, no?</div>',
        '<div id="header"><a href=a>no</a> <a href=b>no</a> <a href=c>no</a></div>',
        '<div role="dialog">cookies, no? <a href="#">OK</a></div>',
    ],
)
def test_what_is_not_shown_is_left_out(tmp_path: Path, html: str) -> None:
    assert page(tmp_path, f"<p>yes</p>{html}<p>last</p>") == "yes\n\nlast\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ol start=5><li>a<li>b</ol>", "5. a\n6. b\n"),
        ("<ol reversed><li>a<li>b<li>c</ol>", "3. a\n2. b\n1. c\n"),
        ("<ol type=a start=26><li>a<li>b</ol>", "z. a\naa. b\n"),
        ("<ol type=I><li>a<li value=9>b</ol>", "I. a\nIX. b\n"),
        ('<ol style="list-style-type: upper-alpha"><li>a</ol>', "A. a\n"),
        ("<ol><li>a<li hidden>no<li>b</ol>", "1. a\n2. b\n"),
        ("<ol start=x type=z><li>a</ol>", "1. a\n"),
        ("<ruby>漢<rt>かん</rt>字<rp>(</rp><rt>じ</rt></ruby>です", "漢字(かんじ)です\n"),
        ("12 m<sup>2</sup>, 10<sup>6</sup>, x<sup>n+1</sup>", "12 m², 10^6, x^(n+1)\n"),
        ("CO<sub>2</sub>, H<sub>2</sub>O, T<sub>max</sub>", "CO2, H2O, T_max\n"),
        ("the 1<sup>st</sup> ACME<sup>®</sup>", "the 1st ACME®\n"),
        ('the note<sup><a href="#n1">1</a></sup>.', "the note[1].\n"),
        ('the note<a href="#n1"><sup>1</sup></a>.', "the note[1].\n"),
        ('a law<sup class="reference"><a href="#c">[12]</a></sup> says', "a law[12] says\n"),
        ("as agreed.<sup>3</sup> Then", "as agreed.[3] Then\n"),
        ('Source. <a href="#r1" role="doc-backlink">↩</a>', "Source.\n"),
        (
            '<span style="display:none"><math><mi>E</mi><annotation encoding="application/x-tex">'
            "E=mc^2</annotation></math></span><img aria-hidden=true alt=formula>",
            "E=mc^2\n",
        ),
        ("<math><msup><mi>c</mi><mn>2</mn></msup></math>", "c²\n"),
    ],
)
def test_lists_and_marks_are_read_as_they_look(tmp_path: Path, html: str, text: str) -> None:
    assert page(tmp_path, html) == text


def test_layout_tables_are_not_rendered_as_tables(tmp_path: Path) -> None:
    layout = "<table><tr><td><h2>News</h2><p>Text</p></td><td><p>Side</p></td></tr></table>"
    assert page(tmp_path, layout) == "## News\n\nText\n\nSide\n"


@pytest.mark.parametrize("depth", [300, 10_000])
def test_deep_nesting_loses_no_text(tmp_path: Path, depth: int) -> None:
    html = "<h1>Top</h1>" + "<div><b>" * depth + "deep" + "</b></div>" * depth + "<p>after</p>"
    assert page(tmp_path, html) == "# Top\n\ndeep\n\nafter\n"


def test_both_parsers_give_the_same_page() -> None:
    simple = PAGE.replace("<table>", "<div>").replace("</table>", "</div>")
    tree, events = HtmlPage(True), HtmlPage(True)
    assert _walk_tree(simple, tree)
    tree.close()
    _walk_events(simple, events)
    events.close()
    assert events.writer.text() == tree.writer.text()
    assert events.writer.headings == tree.writer.headings


RUSSIAN = "Договор вступает в силу"


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        ('<meta charset="iso-8859-1">', "utf-8"),  # a common false declaration
        ('<meta charset="no-such">', "cp1251"),
        ("", "utf-8"),
        ("", "utf-16"),
    ],
)
def test_the_encoding_of_a_page_is_detected(tmp_path: Path, head: str, encoding: str) -> None:
    html = f"<html><head>{head}</head><body><p>{RUSSIAN}</p></body></html>"
    assert page(tmp_path, html.encode(encoding)) == f"{RUSSIAN}\n"


def test_the_encoding_of_an_xml_declaration_is_used(tmp_path: Path) -> None:
    text = (
        f'<?xml version="1.0" encoding="windows-1251"?><html><body><p>{RUSSIAN}</p></body></html>'
    )
    assert page(tmp_path, text.encode("cp1251"), "page.xhtml") == f"{RUSSIAN}\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("   ", ""),
        ("<!-- only a comment -->", ""),
        ("plain words", "plain words\n"),
        ("<p>never closed", "never closed\n"),
        ("</div></ul></table>stray<td>cell", "stray\n\ncell\n"),
        ("<ul><li>a<li>b</ul></ul>c", "- a\n- b\n\nc\n"),
        ("<pre>open", "```\nopen\n```\n"),
        ("<table><tr><td>a<td>b<tr><td>c<td>d", "| a | b |\n| --- | --- |\n| c | d |\n"),
        ("<p>```</p>after", "\\```\n\nafter\n"),
        ("a&#13;&#10;b &#0;&#8;&#27;[1m&#xd800;c", "a b \ufffd\ufffdc\n"),
        ("a&nbsp;b &#x41;&eacute;", "a\xa0b Aé\n"),
        ('<p {% if x %} {{ y }}="1" a:b="2">in a template</p>', "in a template\n"),
    ],
)
def test_broken_pages_are_read(tmp_path: Path, html: str, text: str) -> None:
    assert page(tmp_path, html) == text
