"""`/context/backup`: makes and restores backups of what is configured."""

import mmap
from typing import IO, Any, Final, cast

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from msgspec import ValidationError, convert

from meltica.api.backup import Backup, Restored
from meltica.api.envelope import Change, Failure, JsonObject
from meltica.control.access import ADMIN
from meltica.control.backup import make_backup
from meltica.control.backup_file import KEYS, MAX_BYTES, UNCHECKED, decode, refused, without_sections
from meltica.control.bodies import QUERY
from meltica.control.changes import ChangeRunner
from meltica.control.preconditions import CHANGE_QUERY, Precondition, etag
from meltica.control.query import flag
from meltica.control.restore import Restore, alone, refuse_unnamed_accounts
from meltica.control.restore_plan import RestorePlan, RestorePlanner
from meltica.control.routes.openapi import CONFLICT, PRECONDITION, response
from meltica.control.services import ControlServices
from meltica.errors import suggestion
from meltica.http.body_file import body_file
from meltica.http.errors import HttpError
from meltica.http.request_gate import TAKES_BODY
from meltica.persistence.passphrase import PassphraseError, Sealed, unseal
from meltica.runtime.threads import call

PATH: Final = "/context/backup"
PASSPHRASE: Final = "x-meltica-passphrase"
LATE = response(202, Restored, "Still under way")
NO_SPACE = response(507, Failure, "The temporary folder has no space for the body")


class BackupController(Controller):
    """The backup of everything that is configured while the gateway runs."""

    path = PATH
    tags = ["backup"]
    guards = [ADMIN]

    @get(
        summary="Make a backup",
        description="With the header `X-Meltica-Passphrase`, it has the secrets, encrypted under it.",
        operation_id="getBackup",
        responses=CONFLICT,
    )
    async def get_backup(
        self, request: Request[Any, Any, Any], services: NamedDependency[ControlServices]
    ) -> Response[Backup]:
        """Returns a backup. Raises HttpError and DatabaseError."""
        return await backup(request, services)

    @post(
        status_code=200,
        summary="Restore a backup",
        description="What is not in the backup is deleted, and what changes is stopped. Nothing is started,"
        " unless `start=true` is given and `accounts` names the providers of the instances that ran.",
        operation_id="restoreBackup",
        responses=LATE | CONFLICT | PRECONDITION | NO_SPACE,
        opt={QUERY: (*CHANGE_QUERY, "start", "accounts"), TAKES_BODY: True},
        request_max_body_size=None,
    )
    async def restore_backup(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[Restored]:
        """Restores a backup. Raises HttpError, Conflict and DatabaseError."""
        result, _, headers = await restored(request, services, changes, precondition)
        return Response(result, status_code=200 if headers else 202, headers=headers)


async def backup(
    request: Request[Any, Any, Any], services: ControlServices, *, sections: bool = False
) -> Response[Any]:
    """Returns a backup, whose lists may be in sections. Raises HttpError and DatabaseError."""
    try:
        content, state = await make_backup(services, _passphrase(request), sections=sections)
    except PassphraseError as error:
        raise HttpError(400, "passphrase_refused", f"backup not made: {error}") from None
    # It is JSON already.
    return Response(cast(Any, content), media_type="application/json", headers={"etag": etag(state)})


async def restored(
    request: Request[Any, Any, Any],
    services: ControlServices,
    changes: ChangeRunner,
    precondition: Precondition,
) -> tuple[Restored, RestorePlan | None, dict[str, str]]:
    """Restores the backup of a request, in either form.

    Returns the result, the plan if it was made in time, and the headers of the response; without an ETag, the
    restore goes on. Raises HttpError, Conflict and DatabaseError.
    """
    start, accounts = _start(request)
    async with body_file(request, MAX_BYTES) as file:
        document, places = await call(lambda: without_sections(_read(file)), "meltica-backup")
    secrets = await _secrets(document, _passphrase(request))
    running: list[Restore] = []

    async def plan() -> None:
        planner = RestorePlanner(services, document, secrets, places, store=not precondition.plan)
        restore = Restore(services, await planner.plan(), start)
        beside = {key: Change(after=each) for key, each in restore.beside().items() if each}
        precondition.check("restore", restore.plan.before, restore.plan.after, beside)
        if start:
            refuse_unnamed_accounts(restore.plan, accounts)
        running.append(restore)

    async def work() -> None:
        async with alone(services):
            await plan()
            await running[0].run()

    if precondition.plan:
        async with alone(services):
            await plan()
    if await changes.run(work(), "restore of a backup", lambda: True):
        plan_made = running[0].plan
        return running[0].result, plan_made, {"etag": etag(plan_made.after)}
    result = running[0].result if running else Restored()
    late = msgspec.structs.replace(result, status="restoring")
    return late, running[0].plan if running else None, {}


def _passphrase(request: Request[Any, Any, Any]) -> str | None:
    if "passphrase" in request.query_params:
        text = "a passphrase in a URL is logged on its way: choose another one, and send it as a header"
        raise HttpError(400, "invalid_parameter", f"request refused: {text}")
    value = request.headers.get(PASSPHRASE)
    if value is None:
        return None
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        text = f"the header {PASSPHRASE} is not valid UTF-8"
        raise HttpError(400, "invalid_parameter", f"request refused: {text}") from None


def _start(request: Request[Any, Any, Any]) -> tuple[bool, set[str]]:
    named = request.query_params.get("accounts", "")
    return flag(request, "start"), {each.strip() for each in named.split(",") if each.strip()}


def _read(file: IO[bytes]) -> JsonObject:
    """Returns the document of a file. Blocks. Raises HttpError."""
    if not file.read(1):
        raise refused("backup_damaged", "the body is empty; send the file of a backup")
    # It is not closed here: the pieces that the parser works on are parts of it.
    document = decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    document.pop("meta", None)  # existing clients name their backups there
    unknown = [key for key in document if key not in KEYS]
    if unknown:
        texts = {key: f"`{key[:80]}` is unknown{suggestion(key, KEYS)}" for key in unknown}
        raise HttpError(
            400,
            "validation_failed",
            f"backup not restored, nothing changed: {'; '.join(texts.values())}",
            texts,
        )
    if not document.keys() - UNCHECKED:
        raise refused("validation_failed", "it has none of the keys of a backup")
    return document


async def _secrets(document: JsonObject, header: str | None) -> dict[str, dict[str, Any]]:
    """Returns the secrets of a backup in clear text; none without a passphrase. Raises HttpError."""
    passphrase = header if header is not None else document.get("passphrase")
    if passphrase is None:
        return {}
    if not isinstance(passphrase, str):
        raise refused("validation_failed", "`passphrase`: expected a text")
    if "secrets" not in document:
        text = "it has no secrets, and a passphrase was given; send none, or use another backup"
        raise refused("passphrase_refused", text)
    try:
        sealed = convert(document["secrets"], Sealed)
        found = await call(lambda: unseal(passphrase, sealed), "meltica-passphrase")
        return convert(found, dict[str, dict[str, Any]])
    except ValidationError as error:
        raise refused("backup_damaged", f"`secrets`: {error}; take the backup again") from None
    except PassphraseError as error:
        raise refused("passphrase_refused", str(error)) from None
