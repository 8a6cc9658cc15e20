"""A finished run as files, as large and as mixed as the default one, and a headless browser to read its report."""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluations.report import write_report
from fedpeft_secure.result import (
    AggregatePrivacy,
    AttackRow,
    ClientPrivacy,
    Communication,
    Compute,
    Environment,
    LedgerHead,
    Privacy,
    RecoveredText,
    Result,
    RoundRecord,
    Setup,
    Utility,
)

CLIENTS = tuple(f"client-{index}" for index in range(8))
ROUNDS = 24
CONFIG = """seed = 0

[model]
name = "minilm"
pooling = "mean"
max_length = 64

[privacy]
epsilon = 8.0
delta = 1e-05
per_client = { "client-3" = 2.0 }
"""


def budget(client: str) -> float:
    return 2.0 if client == "client-3" else 8.0


def spent(client: str, rounds: int) -> float:
    return round(0.998 * budget(client) * (rounds / ROUNDS) ** 0.62, 4)


def privacy() -> Privacy:
    rows = tuple(
        ClientPrivacy(
            client=client,
            epsilon_budget=budget(client),
            epsilon_spent=spent(client, ROUNDS),
            delta=1e-5,
            noise_multiplier=1.873 if client == "client-3" else 0.762,
            sample_rate=0.15,
            steps=ROUNDS,
        )
        for client in CLIENTS
    )
    aggregate = AggregatePrivacy(
        epsilon=1.62,
        delta=1e-5,
        noise_multiplier=2.41,
        honest_survivors=7,
        assumptions="at least 7 clients add their noise, and nobody outside them learns a single noise share",
    )
    return Privacy(
        private=True,
        unit="example",
        relation="add_remove",
        accountant="prv",
        noise="simulation",
        clients=rows,
        aggregate=aggregate,
        ledger=LedgerHead(charges=8, digest="00" * 32),
    )


def unprotected() -> Privacy:
    rows = tuple(
        row.model_copy(update={"epsilon_budget": math.inf, "epsilon_spent": math.inf, "noise_multiplier": 0.0})
        for row in privacy().clients
    )
    return privacy().model_copy(update={"private": False, "noise": "none", "clients": rows, "aggregate": None})


def attacks() -> tuple[AttackRow, ...]:
    truth = "the film is warm and funny , and it never once talks down to its audience ."
    found = (
        ("individual", True, 1.0, 0.852, 1.0, "secure sum and noise switched off", truth),
        ("individual-dp", True, 0.0, 0.0, 0.148, "secure sum switched off", "##ogue reef the 1830s"),
        ("sum", True, 0.944, 0.742, 0.99, "noise switched off; two clients", "the film is warm funny never audience ."),
        ("sum-dp", False, 0.0, 0.0, 0.148, "", ""),
    )
    span = [
        AttackRow(
            attack="span", view=view, replay=replay, metric="recall", value=value, low=low, high=high, null=0.012,
            note=note, token_budget=32, tokens_present=18 if replay else 4213,
            texts=(RecoveredText(truth=truth, recovered=recovered),) if replay else (),
        )
        for view, replay, value, low, high, note, recovered in found
    ]  # fmt: skip
    aucs = (("individual", True, 0.671), ("individual-dp", True, 0.512), ("sum", True, 0.53), ("sum-dp", False, 0.503))
    scored = [
        AttackRow(
            attack="membership", view=view, replay=replay, metric="AUC", value=value, low=value - 0.031,
            high=value + 0.03, null=0.499, note="loss threshold, 512 members",
        )
        for view, replay, value in aucs
    ]  # fmt: skip
    rates = (("individual", True, 0.041), ("individual-dp", True, 0.012), ("sum", True, 0.018), ("sum-dp", False, 0.01))
    caught = [
        AttackRow(
            attack="membership", view=view, replay=replay, metric="TPR at 1 % FPR", value=value,
            low=max(0.0, value - 0.012), high=value + 0.017, null=0.011,
        )
        for view, replay, value in rates
    ]  # fmt: skip
    return (*span, *scored, *caught)


def result(**changes: Any) -> Result:
    base = Result(
        setup=Setup(
            model="minilm", data="rotten_tomatoes", clients=8, rounds=ROUNDS, method="lora", strategy="fedsvd",
            strategy_reason="under privacy only B is trained, re-orthogonalised between rounds", protocol="masked",
            server="malicious", train_examples=7463, public_text=True,
            warnings=("8 clients are few: the sum hides each one among 7 others at most",),
        ),
        utility=Utility(
            accuracy=0.7636, precision=0.7651, recall=0.7633, f1=0.7634, loss=0.4987, majority_baseline=0.5009,
            examples=1919, classes=("negative", "positive"),
        ),
        privacy=privacy(),
        communication=Communication(
            upload_bytes=152_311, download_bytes=151_870, parameters_sent=37_634, full_finetuning_bytes=90_852_864,
            upload_ratio=90_852_864 / 152_311,
        ),
        compute=Compute(
            seconds={"load": 6.1, "train": 148.2, "secure sum": 21.4, "evaluate": 23.9, "attack": 18.3},
            examples_per_second=181.4, peak_memory_bytes=2_140_000_000,
        ),
        attacks=attacks(),
        environment=Environment(
            versions={"fedpeft-secure": "0.1.0", "opacus": "1.6.0", "peft": "0.21.2", "torch": "2.13.0"},
            processor="AMD EPYC 9554, 2 cores", device="cpu", precision="bfloat16", seed=0,
        ),
    )  # fmt: skip
    return base.model_copy(update=changes)


def rounds(*, private: bool = True) -> tuple[RoundRecord, ...]:
    return tuple(
        RoundRecord(
            round=index,
            attempt=1,
            survivors=CLIENTS[:7] if index == 9 else CLIENTS,
            dropped=CLIENTS[7:] if index == 9 else (),
            accuracy=round(0.765 - 0.26 * math.exp(-index / 5.5) + 0.006 * math.sin(index * 2.3), 4),
            loss=round(0.497 + 0.197 * math.exp(-index / 6.5), 4),
            epsilon_spent={client: spent(client, index) if private else math.inf for client in CLIENTS},
            ledger=LedgerHead(charges=8, digest="00" * 32),
            upload_bytes=152_311,
            download_bytes=151_870,
            seconds={"train": 6.2, "secure sum": 0.9, "evaluate": 1.0},
            model_hash=f"{index:064x}",
        )
        for index in range(1, ROUNDS + 1)
    )


def write_run(directory: Path, found: Result, records: tuple[RoundRecord, ...], config: str = CONFIG) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "result.json").write_text(found.to_json(), encoding="utf-8")
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    (directory / "rounds.jsonl").write_text(lines, encoding="utf-8")
    (directory / "config.toml").write_text(config, encoding="utf-8")
    return directory


@pytest.fixture
def make_run(tmp_path: Path) -> Any:
    """Writes a run directory; keyword arguments replace parts of the result."""

    def make(*, records: tuple[RoundRecord, ...] | None = None, config: str = CONFIG, **changes: Any) -> Path:
        found = result(**changes)
        kept = rounds(private=found.privacy.private) if records is None else records
        return write_run(tmp_path / "run", found, kept, config)

    return make


@pytest.fixture(scope="session")
def default_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the run as it is, written once; tests only read it."""
    return write_report(write_run(tmp_path_factory.mktemp("default"), result(), rounds()))


@pytest.fixture
def not_private() -> Privacy:
    return unprotected()


@pytest.fixture
def records() -> tuple[RoundRecord, ...]:
    return rounds()


@pytest.fixture
def attack_rows() -> tuple[AttackRow, ...]:
    return attacks()


@pytest.fixture
def base_result() -> Result:
    return result()


class Browser:
    """Chromium driven over its debugging pipe; `events` keeps what it reported since the last `open`."""

    def __init__(self, executable: str, profile: Path) -> None:
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        flags = (
            "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
            "--disable-sync --no-first-run --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
        )
        command = f'exec "$0" {flags} --user-data-dir="$1" about:blank 3<&{from_us} 4>&{to_us}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, executable, str(profile)],
            pass_fds=(from_us, to_us),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self._out, self._in = os.fdopen(to_browser, "wb", buffering=0), os.fdopen(from_browser, "rb", buffering=0)
        self._buffer, self._count, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def complaints(self) -> list[dict[str, Any]]:
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]

    def close(self) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(timeout=30)
        self._out.close()
        self._in.close()

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = self._in.read(1 << 16)
            assert chunk, "the browser went away"
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)


@contextmanager
def opened_browser(profile: Path) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((path for name in names if (path := shutil.which(name))), None)
    if executable is None:
        reason = "no chromium on the path: install it (apt-get install chromium) to test the report in a browser"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    browser = Browser(executable, profile)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
