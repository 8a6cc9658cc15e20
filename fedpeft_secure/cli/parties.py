"""What the parties of a federation need for themselves: keys, directories, programs."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedpeft_secure.cli.app import Debug, app, key_holder, one_line_errors
from fedpeft_secure.errors import InputError

Passphrase = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Encrypts the key [default: FEDPEFT_PASSPHRASE, if set]."),
]


@app.command("keys", epilog="Example: fedpeft keys --out hospital-3.key --passphrase-file hospital-3.passphrase")
@one_line_errors
def keys_command(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file for the private key (mode 0600).")],
    passphrase_file: Passphrase = None,
    debug: Debug = False,
) -> None:
    """Makes this party's own identity key, and prints the public half for everybody else's directory."""
    del debug
    from fedpeft_secure.engines.flower.settings import read_passphrase
    from secagg import Identity

    identity, passphrase = Identity.generate(), read_passphrase(passphrase_file)
    try:
        identity.save(out, passphrase=passphrase)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; give a file in a directory that can be written") from None
    typer.echo(identity.public.hex())


@app.command(
    "key-directory", epilog="Example: fedpeft key-directory client-1=$KEY1 client-2=$KEY2 --out keys  # KEYs: `keys`"
)
@one_line_errors
def key_directory_command(
    members: Annotated[
        list[str], typer.Argument(metavar="NAME=PUBLIC...", help="Every client and the key that `keys` printed for it.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file, the same for everybody.")],
    holder: Annotated[
        str | None, typer.Option("--key-holder", metavar="PUBLIC", help="The key that `key-holder init` printed.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Makes the directory of public keys that everybody pins, and prints its fingerprint to compare by telephone."""
    del debug
    from fedpeft_secure.key_directory import parse_directory, write_directory

    directory = parse_directory(members, key_holder=holder)
    write_directory(directory, out)
    typer.echo(directory.fingerprint.hex())


@app.command("node", epilog="Example: fedpeft node /etc/fedpeft/client-1.toml")
@one_line_errors
def node_command(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="TOML file of this client's owner.")],
    debug: Debug = False,
) -> None:
    """Runs this client's worker: it keeps key, data and budget, and answers what its SuperNode hands over."""
    del debug
    from fedpeft_secure.engines.flower.work import run_node

    run_node(settings)


@key_holder.command("init", epilog="Example: fedpeft key-holder init --out key-holder")
@one_line_errors
def key_holder_init_command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new directory (mode 0700).")],
    passphrase_file: Passphrase = None,
    debug: Debug = False,
) -> None:
    """Makes a key holder's identity and memory, and prints the public half for everybody's directory."""
    del debug
    from fedpeft_secure.engines.flower.settings import read_passphrase
    from fedpeft_secure.key_holder import make_key_holder

    typer.echo(make_key_holder(out, passphrase=read_passphrase(passphrase_file)).public.hex())


@key_holder.command("answer", epilog="Example: fedpeft key-holder answer key-holder --directory keys < ask > answer")
@one_line_errors
def key_holder_answer_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `init` made.")],
    directory: Annotated[Path, typer.Option("--directory", metavar="FILE", help="The pinned key directory.")],
    min_cohort: Annotated[int, typer.Option("--min-cohort", min=2, help="Fewest clients whose sum is opened.")] = 3,
    passphrase_file: Passphrase = None,
    debug: Debug = False,
) -> None:
    """Answers one request of a server: reads it from standard input, writes the answer to standard output, as bytes."""
    del debug
    from fedpeft_secure.engines.flower.settings import read_passphrase
    from fedpeft_secure.key_holder import answer_request, load_holder_identity
    from secagg import MAX_REQUEST_BYTES

    identity = load_holder_identity(folder, passphrase=read_passphrase(passphrase_file))
    request = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    answer = answer_request(folder, request, identity=identity, directory=directory, min_cohort=min_cohort)
    try:
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again when it exits
        raise InputError(
            f"standard output: {error.strerror}; this answer is lost and is not given twice, plan another attempt"
        ) from None


@key_holder.command("serve", epilog="Example: fedpeft key-holder serve /etc/fedpeft/key-holder.toml")
@one_line_errors
def key_holder_serve_command(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="TOML file of the key holder's owner.")],
    debug: Debug = False,
) -> None:
    """Runs the key holder's worker, which answers what its SuperNode hands over."""
    del debug
    from fedpeft_secure.engines.flower.work import run_holder

    run_holder(settings)
