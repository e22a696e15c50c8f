"""`meltica replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from meltica.cli import BadInput, exit_codes

if TYPE_CHECKING:
    from meltica.adapters.replay.adapter import ReplayAdapter
    from meltica.backtest.replay import Run


CODES = exit_codes(
    {
        0: "replayed to the end; the report counts callbacks that raised",
        2: "invalid option, file, lambda or config",
        3: "a lambda failed: it did not start, got stuck, exceeded --max-errors, or emitted without end",
        4: "a recording is damaged or not in nanoseconds",
        5: "unreliable: a book never synced or ended stale, or too many frames or checksums are bad",
        130: "interrupted",
    }
)


@click.command(epilog=CODES)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--sample", is_flag=True, help="Replay a small generated Binance session instead of files.")
@click.option(
    "--codec",
    metavar="NAME",
    help="Codec of the frames, such as binance or FILE.py:NAME; recorded events need none.",
)
@click.option(
    "--lambda",
    "lambdas",
    multiple=True,
    metavar="FILE.py:ClassName",
    help="Strategy to run; repeatable.",
)
@click.option(
    "--config",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of the strategy; CLASS.KEY=VALUE for one of several. Repeatable.",
)
@click.option(
    "--symbol", "symbols", multiple=True, metavar="BTC-USDT", help="Replay only this symbol; repeatable."
)
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="max|N",
    help="1 is the recorded pace, 10 ten times as fast.",
)
@click.option(
    "--host",
    type=click.Choice(["shared", "thread"]),
    default="shared",
    show_default=True,
    help="shared: one thread for all lambdas; thread: one each.",
)
@click.option(
    "--max-errors",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Stop a lambda after N exceptions in a row; 0 is unlimited.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def replay(
    paths: tuple[Path, ...],
    sample: bool,
    codec: str | None,
    lambdas: tuple[str, ...],
    pairs: tuple[str, ...],
    symbols: tuple[str, ...],
    speed: str,
    host: Literal["shared", "thread"],
    max_errors: int,
    as_json: bool,
) -> int:
    """Replay recordings through strategies, without losing events.

    PATH is a file, a directory or a glob. Files have lines of `<receive ns> <frame>`, frames alone, or
    recorded events as JSON lines, as text or gzip. The default strategy is large-trades.
    """
    if sample == bool(paths):
        raise click.UsageError("give PATH..., or --sample to replay a generated session")
    from meltica.backtest.replay import LambdaRaised, Replay
    from meltica.cli.json_output import JsonOutput
    from meltica.cli.replay.run import run
    from meltica.errors import MelticaError

    output = JsonOutput.reserve() if as_json else None
    try:
        runs = _runs(lambdas, pairs)
        adapter = _adapter(paths, codec, speed, sample=sample)
        session = Replay(adapter, runs, host=host, symbols=_symbols(symbols), max_errors=max_errors)
    except LambdaRaised as error:
        click.echo(f"Error: {error}", err=True)
        return 3
    except MelticaError as error:
        raise BadInput(str(error)) from error
    return run(session, adapter, output)


def _adapter(paths: tuple[Path, ...], codec: str | None, speed: str, *, sample: bool) -> "ReplayAdapter":
    from meltica.adapters.replay.adapter import ReplayAdapter, ReplaySettings

    try:
        pace: float | Literal["max"] = "max" if speed == "max" else float(speed)
    except ValueError:
        pace = 0.0
    if pace != "max" and not 0 < pace < float("inf"):
        raise click.BadParameter(f"expected max or a number above 0, saw {speed!r}", param_hint="--speed")
    return ReplayAdapter(ReplaySettings(paths=list(paths), sample=sample, codec=codec, speed=pace))


def _symbols(symbols: tuple[str, ...]) -> list[str]:
    from meltica.model.symbols import canonical

    try:
        return [canonical(symbol) for symbol in symbols]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--symbol") from None


def _runs(references: tuple[str, ...], pairs: tuple[str, ...]) -> "list[Run]":
    from meltica.backtest.replay import Run
    from meltica.lambdas.loader import load
    from meltica.strategies.large_trades import LargeTrades

    runs: list[Run] = []
    for cls in [load(reference) for reference in references] or [LargeTrades]:
        same = sum(run.cls.__name__ == cls.__name__ for run in runs)
        runs.append(Run(cls, f"{cls.__name__}-{same + 1}" if same else cls.__name__))
    configs = _configs(pairs, runs)
    return [Run(run.cls, run.id, configs[run.id]) for run in runs]


def _configs(pairs: tuple[str, ...], runs: "list[Run]") -> dict[str, dict[str, object]]:
    """Returns the config of each lambda. A key without a lambda's name is for those that know it, or all."""
    configs: dict[str, dict[str, object]] = {run.id: {} for run in runs}
    for pair in pairs:
        key, equal, value = pair.partition("=")
        if not equal or not key.strip():
            raise click.BadParameter(f"expected KEY=VALUE, saw {pair!r}", param_hint="--config")
        owner, dot, rest = key.strip().partition(".")
        if dot and owner in configs:
            _put(configs[owner], rest, value)
            continue
        owners = [
            run.id for run in runs if run.cls.Config is not None and owner in run.cls.Config.model_fields
        ]
        for name in owners or configs:
            _put(configs[name], key.strip(), value)
    return configs


def _put(config: dict[str, Any], key: str, value: str) -> None:
    first, dot, rest = key.partition(".")
    if not dot:
        config[first] = value
    else:
        inner = config.setdefault(first, {})
        if not isinstance(inner, dict):
            raise click.BadParameter(
                f"`{first}` is given both a value and keys of its own", param_hint="--config"
            )
        _put(inner, rest, value)  # pyright: ignore[reportUnknownArgumentType]
