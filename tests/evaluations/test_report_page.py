import base64
import hashlib
import html
import itertools
import re
from html.parser import HTMLParser

import pytest

from evaluations.report import rendering
from evaluations.report.page import build_page, render
from evaluations.report.reading import read_run

HOSTILE = '</script><script>window.broken=1</script><img src=x onerror="window.broken=1">"\'&{{7*7}}'


class Elements(HTMLParser):
    """Keeps every start tag with its attributes, and the text of scripts."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.scripts, self.styles = [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)
        if self.tags and self.tags[-1][0] == "style" and data.strip():
            self.styles.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def written(make_run):
    def write(*, show_text=True, **changes):
        return render(build_page(read_run(make_run(**changes)), show_text=show_text))

    return write


def visible(source):
    body = source[source.index("<body") : source.index('<script type="application/json"')]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_everything_asked_for_is_there(written):
    seen = visible(written())
    for words in (
        "How good", "What it cost", "What privacy was spent", "What an attacker got",
        "What each client’s messages reveal", "What the sums alone reveal", "Assumes: at least 7 clients",
        "unit: one example; neighbours: add or remove; accountant: prv; noise: simulation",
        "1.873", "18 / 32", "4213 / 32", "secure sum and noise switched off",
        "A secure sum alone does not stop inversion", "A seeded simulation is not private", "r·m",
        "a factor of 2,930", "AMD EPYC 9554, 2 cores", "2.13.0", 'per_client = { "client-3" = 2.0 }',
        "8 clients are few", "talks down to its audience", "181 examples/s",
    ):  # fmt: skip
        assert words.lower() in seen.lower(), words


def test_hostile_names_and_texts_stay_text(written, base_result, records):
    row = base_result.attacks[0]
    pair = row.texts[0].model_copy(update={"truth": HOSTILE, "recovered": HOSTILE})
    hostile_row = row.model_copy(update={"attack": HOSTILE, "metric": HOSTILE, "note": HOSTILE, "texts": (pair,)})
    privacy = base_result.privacy
    client = privacy.clients[0].model_copy(update={"client": HOSTILE})
    setup = base_result.setup.model_copy(
        update={"model": HOSTILE, "data": HOSTILE, "strategy_reason": HOSTILE, "warnings": (HOSTILE,)}
    )
    environment = base_result.environment.model_copy(update={"versions": {HOSTILE: HOSTILE}, "processor": HOSTILE})
    clean, source = written(), written(
        attacks=(hostile_row,),
        privacy=privacy.model_copy(update={"clients": (client,)}),
        setup=setup,
        environment=environment,
        utility=base_result.utility.model_copy(update={"classes": (HOSTILE,)}),
        compute=base_result.compute.model_copy(update={"seconds": {HOSTILE: 1.0}}),
        records=tuple(r.model_copy(update={"dropped": (HOSTILE,), "epsilon_spent": {HOSTILE: 1.0}}) for r in records),
        config=HOSTILE,
    )  # fmt: skip
    assert len(Elements(source).all("script")) == len(Elements(clean).all("script")) == 3
    assert Elements(source).all("img") == []
    assert "<script>window.broken" not in source
    assert "{{7*7}}" in html.unescape(source)
    assert "window.broken=1" in visible(source)


def test_nothing_points_outside(written):
    for tag, attributes in Elements(written()).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    assert "url(" not in rendering._asset("report.css")
    assert "@import" not in rendering._asset("report.css")


def test_the_policy_allows_only_the_pages_own_scripts(written):
    found = Elements(written())
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "connect-src" not in policy
    assert "script-src 'unsafe-inline'" not in policy
    inline = [script for script in found.scripts if not script.startswith("{")]
    assert len(inline) == 2
    for script in inline:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_plotly_is_inlined_once(written):
    assert written().count("Licensed under the MIT license") >= 1
    assert sum(len(script) > 1_000_000 for script in Elements(written()).scripts) == 1


def test_source_that_ends_its_own_element_is_refused():
    with pytest.raises(ValueError, match="end its own element"):
        rendering._own("var a = '</SCRIPT>'")


def test_recovered_text_is_shown_only_on_request(written):
    shown, hidden = visible(written()), visible(written(show_text=False))
    assert "talks down to its audience" in shown
    assert "audience" not in hidden
    assert "1830s" not in written(show_text=False)
    assert "4 recovered texts left out" not in hidden
    assert "3 recovered texts left out by the setting attacks.show_text" in hidden


def test_words_of_the_truth_are_marked(written):
    source = written()
    assert "<mark>the</mark>" in source
    assert "##ogue reef <mark>the</mark> 1830s" in source
    assert "<mark>.</mark>" not in source


def test_not_private_is_said_in_words_wherever_privacy_is(written, not_private, records):
    endless = tuple(
        record.model_copy(update={"epsilon_spent": dict.fromkeys(record.epsilon_spent, float("inf"))})
        for record in records
    )
    source = written(privacy=not_private, records=endless)
    assert visible(source).count("NOT PRIVATE") >= 8 + 4
    assert "there is no privacy curve" in visible(source)
    assert 'id="chart-privacy"' not in source


def test_a_bare_run_still_makes_a_page(written, base_result):
    seen = visible(written(attacks=(), records=(), privacy=base_result.privacy.model_copy(update={"aggregate": None})))
    assert "No attack was run" in seen
    assert "Validation was not measured" in seen
    assert "Not stated for this run" in seen


def test_accessibility_of_the_markup(written):
    found = Elements(written())
    assert found.all("html")[0]["lang"] == "en"
    assert found.all("meta")[2]["name"] == "viewport"
    for attributes in found.all("th"):
        assert attributes.get("scope") in ("col", "row")
    drawn = [a for a in found.all("div") if str(a.get("id", "")).startswith("chart-")]
    assert len(drawn) == 7
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in drawn)
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for attributes in found.all("table"):
        assert attributes["aria-labelledby"] in ids
    for attributes in found.all("a"):
        assert attributes["href"].removeprefix("#") in ids
    assert len([a for _, a in found.tags if a.get("class") == "scroll" and a["tabindex"] == "0"]) == 4
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_contrast_is_aa_in_light_and_dark(scheme):
    blocks = re.findall(r":root \{(.*?)\}", rendering._asset("report.css"), flags=re.DOTALL)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[scheme]))
    for text in ("ink", "muted", "accent", "warn", "bad", *(f"series-{index}" for index in range(1, 7))):
        for ground in ("paper", "panel"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["mark"]) >= 4.5


def test_the_asserted_contrast_is_the_standards():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
