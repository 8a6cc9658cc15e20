import json
import math

import pytest

from evaluations.report import charts
from evaluations.report.attack_charts import attack_charts
from evaluations.report.figures import still_figures
from evaluations.report.reading import read_run


def traces(chart):
    return chart.figure["data"]


def test_accuracy_chart_holds_what_was_measured(make_run):
    chart = charts.accuracy_chart(read_run(make_run()))
    validation, baseline, test = traces(chart)
    assert len(validation["x"]) == 24
    assert list(baseline["y"]) == [0.5009, 0.5009]
    assert list(test["y"]) == [0.7636]
    assert "test accuracy 0.764" in chart.label


def test_privacy_chart_shows_a_line_and_a_budget_for_each_history(make_run):
    chart = charts.privacy_chart(read_run(make_run()))
    assert [(trace["name"], trace["y"][-1]) for trace in traces(chart)] == [
        ("7 clients", 7.984),
        ("budget of 7 clients", 8.0),
        ("client-3", 1.996),
        ("budget of client-3", 2.0),
    ]


def test_privacy_chart_of_many_histories_shows_the_largest(make_run, base_result, records):
    rows = tuple(
        base_result.privacy.clients[0].model_copy(update={"client": f"c{index}", "epsilon_budget": math.inf})
        for index in range(30)
    )
    spent = {row.client: 0.1 * (index + 1) for index, row in enumerate(rows)}
    records = tuple(record.model_copy(update={"epsilon_spent": spent}) for record in records)
    privacy = base_result.privacy.model_copy(update={"clients": rows})
    chart = charts.privacy_chart(read_run(make_run(privacy=privacy, records=records)))
    assert [trace["name"] for trace in traces(chart)] == [f"c{index}" for index in range(29, 17, -1)]
    assert "12 largest of 30" in chart.caption


def test_nothing_measured_means_no_chart(make_run, records, not_private):
    blank = tuple(record.model_copy(update={"accuracy": None, "loss": None}) for record in records)
    run = read_run(make_run(records=blank))
    assert charts.accuracy_chart(run) is None
    assert charts.loss_chart(run) is None
    endless = tuple(record.model_copy(update={"epsilon_spent": {"client-0": math.inf}}) for record in records)
    run = read_run(make_run(privacy=not_private, records=endless))
    assert charts.privacy_chart(run) is None
    empty = run.result.compute.model_copy(update={"seconds": {"total": 1.0}})
    assert charts.phases_chart(empty) is None


def test_axes_name_whole_rounds_only(make_run, records):
    few = charts.accuracy_chart(read_run(make_run(records=records[:3])))
    assert few.figure["layout"]["xaxis"]["dtick"] == 1
    many = charts.privacy_chart(read_run(make_run(records=records)))
    assert many.figure["layout"]["xaxis"]["dtick"] == 3


def test_phases_run_from_the_longest_down(base_result):
    chart = charts.phases_chart(base_result.compute)
    assert list(traces(chart)[0]["y"]) == ["load", "attack", "secure sum", "evaluate", "train"]
    assert chart.label.startswith("Bar chart. train 2\u00a0min\u00a028\u00a0s; evaluate")


def test_attack_charts_draw_intervals_and_controls(attack_rows):
    span, auc, _ = attack_charts(attack_rows)
    run, replay, null = traces(span)
    assert (list(run["x"]), list(run["y"]), run["marker"]["symbol"]) == ([0.0], [3], "circle")
    assert (list(replay["x"]), list(replay["y"])) == ([1.0, 0.0, 0.944], [0, 1, 2])
    assert replay["marker"]["symbol"] == "circle-open"
    assert replay["error_x"]["arrayminus"][0] == pytest.approx(0.148)
    assert run["error_x"]["array"][0] == pytest.approx(0.148)
    assert list(null["x"]) == [0.012] * 4
    assert "each message (replay) 0.671, interval 0.640 to 0.701, null control 0.499" in auc.label


def test_a_value_without_interval_has_no_bar(attack_rows):
    row = attack_rows[3].model_copy(update={"low": None, "high": None, "null": None})
    run, _, null = traces(attack_charts((row,))[0])
    assert list(run["error_x"]["array"]) == [0.0]
    assert list(null["x"]) == []


def test_scale_is_the_unit_interval_only_for_rates(attack_rows):
    span = attack_charts(attack_rows)[0]
    assert list(span.figure["layout"]["xaxis"]["range"]) == [-0.04, 1.04]
    exposure = attack_rows[0].model_copy(update={"metric": "exposure", "value": 7.2, "high": 8.0})
    assert "range" not in attack_charts((exposure,))[0].figure["layout"]["xaxis"]


def test_charts_are_json_and_name_their_colours(make_run):
    run = read_run(make_run())
    for chart in (charts.accuracy_chart(run), charts.privacy_chart(run), *attack_charts(run.result.attacks)):
        written = json.dumps(chart.figure, allow_nan=False)
        assert "var(--series-1)" in written
        assert "#" not in written


def test_plotly_gets_no_markup(make_run, base_result, records):
    name = '<a href="https://example.org">x</a>'
    rows = (base_result.privacy.clients[0].model_copy(update={"client": name}),)
    spent = tuple(record.model_copy(update={"epsilon_spent": {name: 1.0}}) for record in records)
    privacy = base_result.privacy.model_copy(update={"clients": rows})
    run = read_run(make_run(privacy=privacy, records=spent))
    assert "<a" not in json.dumps(charts.privacy_chart(run).figure)
    hostile = base_result.attacks[0].model_copy(update={"metric": name})
    assert "<a" not in json.dumps(attack_charts((hostile,))[0].figure)


def test_still_figures_are_pictures_and_repeat_exactly(make_run):
    run = read_run(make_run())
    found = still_figures(run)
    assert sorted(found) == [f"{name}.{kind}" for name in ("accuracy", "attacks", "privacy") for kind in ("png", "svg")]
    for name, content in found.items():
        assert content.startswith(b"\x89PNG") if name.endswith("png") else b"<svg" in content
    assert still_figures(run) == found
    assert b">7 clients<" in found["privacy.svg"]


def test_still_figures_take_names_literally(make_run, base_result, records):
    name = r"$\frac{a$ <b> 医院"
    rows = (base_result.privacy.clients[0].model_copy(update={"client": name, "epsilon_budget": math.inf}),)
    spent = tuple(record.model_copy(update={"epsilon_spent": {name: 1.0}}) for record in records)
    privacy = base_result.privacy.model_copy(update={"clients": rows})
    row = base_result.attacks[0].model_copy(update={"metric": "$x^"})
    found = still_figures(read_run(make_run(privacy=privacy, records=spent, attacks=(row,))))
    assert rb"$\frac{a$ &lt;b&gt;" in found["privacy.svg"]
    assert b"$x^" in found["attacks.svg"]


def test_still_figures_leave_out_what_has_no_data(make_run, records):
    blank = tuple(record.model_copy(update={"accuracy": None, "epsilon_spent": {}}) for record in records)
    assert still_figures(read_run(make_run(records=blank, attacks=()))) == {}
