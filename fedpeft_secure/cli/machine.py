"""What this machine can do."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedpeft_secure.cli.app import ConfigPath, Debug, Json, Overrides, app, bench, one_line_errors, show_table
from fedpeft_secure.errors import InputError


@app.command("doctor", epilog="Example: fedpeft doctor --profile laptop.toml")
@one_line_errors
def doctor_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Measure this device for allocation.devices."),
    ] = None,
    connect: Annotated[
        Path | None, typer.Option("--connect", metavar="SETTINGS", help="Look at a node: its files and its worker.")
    ] = None,
    superlink: Annotated[
        str, typer.Option("--superlink", metavar="HOST:PORT", help="With --connect: reach this SuperLink over TLS.")
    ] = "",
    root_certificates: Annotated[
        Path | None, typer.Option("--root-certificates", metavar="FILE", help="Who signed the SuperLink's certificate.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Shows what this machine can do: versions, processor, device, precision, packaged model and data."""
    del debug
    from fedpeft_secure.doctor import examine

    if profile is not None:
        _profile(config, overrides or [], profile, as_json=as_json)
        return
    if config is not None or overrides:
        raise InputError("doctor: only --profile FILE looks at a configuration; leave CONFIG and --set away")
    if connect is None:
        findings = examine()
    else:
        from fedpeft_secure.engines.flower.checkup import examine_node

        findings = examine_node(connect, superlink=superlink, root_certificates=root_certificates)
    if as_json:
        sys.stdout.write(json.dumps({finding.name: finding.value for finding in findings}, indent=2) + "\n")
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.good else '-- '} {finding.name:<20} {finding.value}")


def _profile(config: Path | None, overrides: list[str], file: Path, *, as_json: bool) -> None:
    from fedpeft_secure.allocation.profile import measure_device, write_profile
    from fedpeft_secure.config_file import load_config

    if file.exists() or not file.parent.is_dir():
        raise InputError(f"--profile {file}: give a new file in a directory that is there")
    found = measure_device(load_config(config, overrides=overrides))
    write_profile(found, file)
    if as_json:
        steps = [{"step": name, "seconds": seconds, "predicted": fitted} for name, seconds, fitted in found.steps]
        sys.stdout.write(json.dumps({"processor": found.device.kind, "steps": steps}, indent=2) + "\n")
        return
    for name, seconds, fitted in found.steps:
        typer.echo(f"{name:<40} {seconds:.3f} s, {fitted:.3f} s by the profile")


@bench.command("secure-sum", epilog="Example: fedpeft bench secure-sum --clients 100 --dim 100000 --dropout 0.1")
@one_line_errors
def bench_secure_sum_command(  # noqa: PLR0917 - typer calls by name
    clients: Annotated[int, typer.Option("--clients", min=2, help="Cohort.")] = 100,
    dim: Annotated[int, typer.Option("--dim", min=1, help="Values of a vector.")] = 100_000,
    dropout: Annotated[float, typer.Option("--dropout", help="Share that vanishes before it uploads.")] = 0.1,
    server: Annotated[
        str, typer.Option("--server", help="curious or malicious; bfv and ckks bear a curious one only.")
    ] = "malicious",
    bits: Annotated[int, typer.Option("--bits", min=2, max=32, help="Bits of a value.")] = 16,
    protocol: Annotated[str, typer.Option("--protocol", help="masked, helper, bfv or ckks.")] = "masked",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Times one round of a secure sum, all parties in this process."""
    del debug
    from dataclasses import asdict

    from fedpeft_secure.bench_table import cost_table
    from secagg.bench import measure

    cost = measure(clients=clients, dim=dim, dropout=dropout, server=server, bits=bits, protocol=protocol)
    show_table(cost_table(cost), json.dumps(asdict(cost)), as_json=as_json)
