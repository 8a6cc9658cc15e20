import math

from evaluations.report import wording
from evaluations.report.answers import answers


def words(answer):
    return " ".join((answer.value, answer.unit, *answer.lines)).replace("\u00a0", " ")


def test_the_four_answers(base_result):
    quality, cost, privacy, attacker = answers(base_result)
    assert words(quality).startswith("0.764 accuracy Test split of 1,919 examples; 95 % interval 0.744 to 0.782")
    assert "largest class: 0.501" in words(quality)
    assert words(cost).startswith("152 kB sent By each client in each round; 152 kB received 1/596 of full fine-tuning")
    assert "3 min 38 s in all; peak memory 2.14 GB" in words(cost)
    assert words(privacy).startswith("ε 7.98 of 8 Largest of 8 clients (client-0); δ = 10⁻⁵")
    assert "Unit: one example; neighbours: add or remove; accountant: prv" in words(privacy)
    assert "not private as run" in words(privacy)
    assert attacker.value == "No more than guessing"
    assert "span, recall: 0.000 (guessing 0.012)" in words(attacker)
    assert words(attacker).endswith("at best: span, recall: 1.000; membership, AUC: 0.671")


def test_secure_noise_raises_no_warning(base_result):
    secure = base_result.model_copy(update={"privacy": base_result.privacy.model_copy(update={"noise": "secure"})})
    assert answers(secure)[2].tone == "plain"
    assert wording.notices(secure) == ()
    assert "seeded" not in " ".join(wording.messages_statement(secure))


def test_without_privacy_every_place_says_so(base_result, not_private):
    open_run = base_result.model_copy(update={"privacy": not_private})
    assert answers(open_run)[2].value == "NOT PRIVATE"
    assert wording.notices(open_run)[0].title == "NOT PRIVATE"
    assert wording.messages_statement(open_run)[0].startswith("NOT PRIVATE")
    assert "differentially private for" not in " ".join(wording.messages_statement(open_run))
    assert wording.aggregate_statement(not_private) == ("Not stated for this run. Only the ε of each client applies.",)
    aggregate = base_result.privacy.aggregate.model_copy(update={"epsilon": math.inf})
    bare = wording.aggregate_statement(base_result.privacy.model_copy(update={"aggregate": aggregate}))
    assert bare[0].startswith("NOT PRIVATE")


def test_one_client_without_a_budget_is_named(base_result):
    privacy = base_result.privacy
    leaky = privacy.clients[2].model_copy(update={"epsilon_spent": math.inf, "epsilon_budget": math.inf})
    mixed = privacy.model_copy(update={"clients": (*privacy.clients[:2], leaky, *privacy.clients[3:])})
    run = base_result.model_copy(update={"privacy": mixed})
    assert wording.notices(run)[0].title == "NOT PRIVATE for client-2"
    assert "client-2" in words(answers(run)[2])


def test_over_budget_is_an_alarm(base_result):
    privacy = base_result.privacy
    spent = privacy.clients[0].model_copy(update={"epsilon_spent": 9.0})
    run = base_result.model_copy(
        update={"privacy": privacy.model_copy(update={"clients": (spent, *privacy.clients[1:])})}
    )
    assert wording.notices(run)[0].title == "OVER BUDGET: client-0"
    answer = answers(run)[2]
    assert answer.tone == "bad"
    assert answer.bar.share == 1.0


def test_the_attackers_answer_follows_the_rows_of_the_run_itself(base_result, attack_rows):
    def answer(rows):
        return answers(base_result.model_copy(update={"attacks": tuple(rows)}))[3]

    real = attack_rows[3]
    won = real.model_copy(update={"value": 0.9, "low": 0.8})
    assert (answer([won]).value, answer([won]).tone) == ("More than guessing", "bad")
    assert answer([won.model_copy(update={"low": None})]).value == "More than guessing"
    assert answer([real.model_copy(update={"null": None})]).value == "No null control"
    assert answer([row for row in attack_rows if row.replay]).value == "Only replays"
    assert answer([]).value == "Not tested"
    assert answer([real.model_copy(update={"value": None})]).value == "Not tested"
    many = [real.model_copy(update={"metric": f"m{index}"}) for index in range(7)]
    assert answer(many).lines[-1] == "3 more under Attacks"


def test_a_model_at_chance_is_marked(base_result):
    weak = base_result.utility.model_copy(update={"accuracy": 0.51})
    assert answers(base_result.model_copy(update={"utility": weak}))[0].tone == "warn"
    assert answers(base_result)[0].tone == "plain"


def test_statements(base_result):
    messages = " ".join(wording.messages_statement(base_result))
    assert "(ε, δ)-differentially private for one example (add or remove)" in messages
    assert "it bounds nothing about the sum" in messages
    aggregate = " ".join(wording.aggregate_statement(base_result.privacy)).replace("\u00a0", " ")
    assert "(ε = 1.620, δ = 10⁻⁵)" in aggregate
    assert "7 honest survivors" in aggregate
    assert "Assumes: at least 7 clients add their noise" in aggregate
    setup = base_result.setup.model_copy(update={"protocol": "plain"})
    plain = " ".join(wording.messages_statement(base_result.model_copy(update={"setup": setup})))
    assert "the server read every update by itself" in plain


def test_a_phase_called_total_is_the_whole(base_result):
    compute = base_result.compute
    assert wording.total_seconds(compute) == sum(compute.seconds.values())
    assert wording.total_seconds(compute.model_copy(update={"seconds": {"train": 3.0, "total": 9.0}})) == 9.0


def test_a_loss_that_rises_beside_an_accuracy_that_does_not_fall_is_explained(records):
    def caption(losses, accuracies):
        pairs = zip(records, losses, accuracies, strict=False)
        return wording.loss_caption([one.model_copy(update={"loss": a, "accuracy": b}) for one, a, b in pairs])

    plain = "Mean loss by round on the validation split."
    assert caption([0.6, 0.5], [0.7, 0.75]) == plain
    assert caption([0.50, 0.52], [0.7, 0.75]) == plain  # within what a round differs by
    assert caption([0.5, 0.6], [0.75, 0.7]) == plain  # the model gets worse: nothing to explain away
    assert caption([0.5, 0.6], [None, None]) == plain
    assert caption([None, float("nan")], [0.7, 0.8]) == plain
    assert "rises from its lowest, 0.500, though accuracy is no lower" in caption([0.5, 0.6, 0.7], [0.7, 0.8, 0.7])
