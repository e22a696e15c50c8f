"""`meltica strategies`: uploads strategy modules, moves their tags, and refreshes instances."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meltica.cli import BadInput
from meltica.cli.gateway import REFUSED, connect, gateway_codes, gateway_options
from meltica.cli.tables import print_details, print_table

if TYPE_CHECKING:
    from meltica.api.modules import RefreshedSelector
    from meltica.client import ModuleRefused

SHORT = 19
"""Characters of a hash in a table: enough to select its revision by eye."""


@click.group()
def strategies() -> None:
    """Upload strategy modules, promote and roll back revisions.

    A SELECTOR is `name`, `name:tag`, `name@hash` or a hash.
    """


@strategies.command("list", epilog=gateway_codes("the modules were printed"))
@gateway_options
def list_modules(as_json: bool, **where: Any) -> None:
    """List the uploaded modules with their revisions."""
    import msgspec

    with connect(**where) as client:
        modules = client.modules().modules
    if as_json:
        click.echo(json.dumps({"modules": msgspec.to_builtins(modules)}))
        return
    rows = [
        (
            module.name,
            revision.hash[:SHORT],
            sorted(tag for tag, hash in module.tag_aliases.items() if hash == revision.hash),
            [id for use in module.running if use.hash == revision.hash for id in use.instances],
        )
        for module in modules
        for revision in module.revisions
    ]
    print_table(("module", "revision", "tags", "running"), rows, "no module is stored")


@strategies.command(epilog=gateway_codes("the module was printed"))
@click.argument("selector")
@gateway_options
def show(selector: str, as_json: bool, **where: Any) -> None:
    """Show the module SELECTOR with its revisions and settings."""
    import msgspec

    with connect(**where) as client:
        module = msgspec.to_builtins(client.module(selector))
    if as_json:
        click.echo(json.dumps(module))
    else:
        print_details(module)


@strategies.command(epilog=gateway_codes("the source was printed"))
@click.argument("selector")
@gateway_options
def source(selector: str, as_json: bool, **where: Any) -> None:
    """Print the source of the revision SELECTOR."""
    with connect(**where) as client:
        content = client.module_source(selector)
    if as_json:
        click.echo(json.dumps({"selector": selector, "source": content.decode()}))
    else:
        click.echo(content, nl=False)


@strategies.command(
    epilog=gateway_codes("the module was stored", _3="the module has faults, or the gateway refused it")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tag", help="Tag of the revision; default: `version` of the class.")
@click.option("--alias", "aliases", multiple=True, help="One more tag; can be repeated.")
@click.option("--no-promote", is_flag=True, help="Leave `latest` at its revision.")
@gateway_options
def push(
    file: Path, tag: str | None, aliases: tuple[str, ...], no_promote: bool, as_json: bool, **where: Any
) -> int:
    """Check the module in FILE and store it.

    No instance changes: see `promote` and `refresh`.
    """
    import msgspec

    from meltica.api.modules import ModuleUpload
    from meltica.client import ModuleRefused

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}") from None
    upload = ModuleUpload(
        source=text, tag=tag, aliases=[*aliases], promote_latest=not no_promote, filename=file.name
    )
    with connect(**where) as client:
        try:
            result = client.upload_module(upload)
        except ModuleRefused as refused:
            _print_faults(file, refused, as_json=as_json)
            return REFUSED
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(result)))
        return 0
    module = result.module
    click.echo(f"{module.name}:{module.tag or module.version} is stored as {module.hash}")
    for restriction in result.not_enforced or ():
        click.echo(f"Warning: the check did not enforce: {restriction}", err=True)
    return 0


def _print_faults(file: Path, refused: "ModuleRefused", *, as_json: bool) -> None:
    import msgspec

    if as_json:
        faults = msgspec.to_builtins(refused.diagnostics)
        click.echo(json.dumps({"error": str(refused), "code": refused.code, "diagnostics": faults}))
    for fault in refused.diagnostics:
        place = ":".join(
            str(each) for each in (file, fault.line, fault.column) if isinstance(each, Path | int)
        )
        hint = f"; {fault.hint}" if isinstance(fault.hint, str) else ""
        click.echo(f"Error: {place}: {fault.message}{hint}", err=True)


@strategies.command(
    epilog=gateway_codes(
        "the tag selects the revision, and its instances run it",
        _3="an instance runs its earlier revision, or the gateway refused the request",
    )
)
@click.argument("selector")
@click.option("--tag", default="latest", show_default=True, help="The tag that moves.")
@click.option("--no-refresh", is_flag=True, help="Leave instances at their revisions.")
@gateway_options
def promote(selector: str, tag: str, no_refresh: bool, as_json: bool, **where: Any) -> int:
    """Move a tag to the revision SELECTOR, and its instances with it. An earlier revision rolls back.

    State is handed over. An instance whose new revision does not start runs the earlier one.
    """
    import msgspec

    with connect(**where) as client:
        name, hash = _revision(client.module(selector), selector)
        assigned = client.set_tag(name, tag, hash, refresh=not no_refresh)
    results = list(assigned.results or ())
    failed = any(result.reason == "failed" for result in results)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(assigned)))
    else:
        before = f", before {assigned.previous_hash}" if isinstance(assigned.previous_hash, str) else ""
        click.echo(f"{name}:{tag} is {assigned.hash}{before}")
        _print_results(results)
    return REFUSED if failed else 0


def _revision(module: Any, selector: str) -> tuple[str, str]:
    """Returns name and hash of the revision that a selector selects."""
    if "@" in selector:
        return module.name, selector.partition("@")[2]
    if selector.startswith("sha256:"):
        return module.name, selector
    tag = (selector.partition(":")[2] or "latest").lower()
    return module.name, module.tag_aliases[tag]


@strategies.command(
    epilog=gateway_codes("every instance has the revision of its tag", _3="an instance could not be moved")
)
@click.argument("names", nargs=-1)
@gateway_options
def refresh(names: tuple[str, ...], as_json: bool, **where: Any) -> int:
    """Move instances to the revisions that their tags select.

    Those of the modules NAMES, or of all.
    """
    import msgspec

    with connect(**where) as client:
        result = client.refresh_modules(names)
    results = list(result.results or ())
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(result)))
    else:
        click.echo(result.status)
        _print_results(results)
    return REFUSED if any(each.reason == "failed" for each in results) else 0


def _print_results(results: "list[RefreshedSelector]") -> None:
    if not results:
        return
    rows = [(each.selector, each.reason, each.instances or (), each.error or "") for each in results]
    print_table(("selector", "result", "instances", "error"), rows, "")


@strategies.command(epilog=gateway_codes("it was deleted"))
@click.argument("selector")
@gateway_options
def delete(selector: str, as_json: bool, **where: Any) -> None:
    """Delete the module SELECTOR, or one revision with its tags.

    One that an instance uses is refused.
    """
    with connect(**where) as client:
        client.delete_module(selector)
    click.echo(json.dumps({"selector": selector, "deleted": True}) if as_json else f"{selector} is deleted")
