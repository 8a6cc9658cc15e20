"""The table of docs/methods.md: how many values each method trains and sends for the packaged MiniLM.

    python benchmarks/method_parameters.py [--write]

Two classes, the default settings of every method. `--write` puts the table into the document.
"""

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.adapters import Role
from fedpeft_secure.aggregation import choose_strategy
from fedpeft_secure.config_file import parse_config

DOCUMENT = Path(__file__).parents[1] / "docs" / "methods.md"
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method: what the whole model, its adapter and head hold, and what is sent under DP by default."""

    method: str
    full: int
    trained: int
    head: int
    strategy: str
    sent: int

    def __str__(self) -> str:
        cells = [f"`{self.method}`", f"{self.trained:,}", ratio(self.full, self.trained)]
        cells += [ratio(self.full - self.head, self.trained - self.head), self.strategy]
        cells += [f"{self.sent:,}", ratio(self.full, self.sent), ratio(self.full - self.head, self.sent - self.head)]
        return "| " + " | ".join(cells) + " |"


def ratio(whole: int, part: int) -> str:
    return f"1/{whole / part:,.1f}" if part else "—"


def base() -> nn.Module:
    config = parse_config({})
    return models.load_classifier(config.model, num_labels=2, seed=0)


def row(pre_trained: nn.Module, method: str) -> Row:
    config = parse_config({"peft": {"method": method}})
    model, spec = methods.wrap(copy.deepcopy(pre_trained), config.peft, public_name="benchmark", seed=0)
    strategy, _ = choose_strategy(config)
    return Row(
        method=method,
        full=methods.base_values(model),
        trained=spec.size,
        head=spec.only((Role.HEAD,)).size,
        strategy=strategy.name,
        sent=strategy.trainable(spec).size,
    )


def table(rows: list[Row]) -> str:
    head = "| method | trained values | of full fine-tuning | head left out on both sides | strategy under DP | "
    head += "sent values | of full fine-tuning | head left out |"
    return "\n".join([head, "|---" * 8 + "|", *(str(each) for each in rows)])


def documented() -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/methods.md")
    options = parser.parse_args()
    pre_trained = base()
    found = table([row(pre_trained, method) for method in methods.METHODS])
    print(found)
    if options.write:
        before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{found}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
