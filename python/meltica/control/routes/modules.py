"""`/strategies/modules`: upload, list, tag and delete strategy modules."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, structs

from meltica.api.envelope import optional
from meltica.api.modules import (
    ModuleDiagnostic,
    ModuleFaults,
    ModuleRegistry,
    ModuleUpload,
    ModuleUsage,
    RefreshResult,
    RefreshTargets,
    StrategyModule,
    StrategyModules,
    TagAssigned,
    TagDeleted,
    TagTarget,
    UploadResult,
)
from meltica.control.access import ADMIN, OPERATOR, VIEWER
from meltica.control.bodies import QUERY, refuse_unknown
from meltica.control.catalogues import StrategyCatalogue
from meltica.control.changes import ChangeRunner
from meltica.control.modules import DIRECTORY, ModuleView, refreshed, uploaded
from meltica.control.preconditions import CHANGE_QUERY, Precondition, module_etag
from meltica.control.routes.instances import InstanceView
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, response
from meltica.control.services import ControlServices
from meltica.errors import NotFound
from meltica.http.answer_time import extend
from meltica.http.errors import HttpError
from meltica.lambdas.modules.catalogue import Module, ModuleRefused, Upload
from meltica.lambdas.modules.check import Diagnostic, TooManyChecks
from meltica.lambdas.modules.names import Selector, canonical_hash, parse
from meltica.persistence.stores.audit import rehearse
from meltica.persistence.stores.modules import module_state

FAULTY = response(422, ModuleFaults, "The module has faults")
LATE = "The refresh takes longer and continues in the background"
LATE_REFRESH = response(202, RefreshResult, LATE)
LATE_TAG = response(202, TagAssigned, LATE)
CHECK_SECONDS = 0.5
"""How much longer an upload may take than other requests, as the check of a module may take 6 s."""
Count = Annotated[int | None, QueryParameter(ge=0)]


def module_view(services: NamedDependency[ControlServices]) -> ModuleView:
    """Returns the view that handlers of modules get."""

    def is_running(id: str) -> bool:
        try:
            return services.instances.get(id).running
        except NotFound:
            return False

    return ModuleView(services.modules, is_running)


class ModulesController(Controller):
    """All strategy modules. A selector is `name`, `name:tag`, `name@hash` or a hash."""

    path = "/strategies"
    tags = ["strategy modules"]
    guards = [VIEWER]
    dependencies = {"modules": Provide(module_view, sync_to_thread=False)}

    @get("/modules", summary="List the strategy modules", operation_id="listModules")
    async def list_modules(
        self,
        modules: NamedDependency[ModuleView],
        strategy: FromQuery[str | None] = None,
        hash: FromQuery[str | None] = None,
        running_only: Annotated[bool, QueryParameter(name="runningOnly")] = False,
        limit: Count = None,
        offset: Count = None,
    ) -> StrategyModules:
        """Returns a page of the modules, by name."""
        found = await modules.all()
        if strategy is not None:
            found = [module for module in found if module.name == strategy.strip().lower()]
        if hash is not None:
            wanted = canonical_hash(hash)
            found = [_only(module, wanted) for module in found]
            found = [module for module in found if module.revisions]
        if running_only:
            found = [module for module in found if module.running]
        start = min(offset or 0, len(found))
        return StrategyModules(
            modules=found[start:] if limit is None else found[start : start + limit],
            total=len(found),
            offset=start,
            limit=UNSET if limit is None else limit,
            strategy_directory=DIRECTORY,
        )

    @get("/registry", summary="Get all tags and revisions", operation_id="getRegistry")
    async def get_registry(self, modules: NamedDependency[ModuleView]) -> ModuleRegistry:
        """Returns the tags and hashes of all modules, and which instances are pinned to them."""
        return await modules.registry()

    @post(
        "/refresh",
        status_code=200,
        summary="Move instances to the revisions that their tags select",
        description="Running instances are restarted. If a revision does not start, the earlier one runs on.",
        operation_id="refreshStrategies",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE_REFRESH,
    )
    async def refresh_strategies(
        self,
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
        data: JSONBody[RefreshTargets | None] = None,
    ) -> Response[RefreshResult]:
        """Refreshes all instances of stored modules, or those of some targets. Raises DatabaseError."""
        targets = data or RefreshTargets()
        strategies, hashes = targets.strategies or [], targets.hashes or []
        partial = bool(strategies or hashes)
        refresh = services.refresh
        with precondition.rehearsal():
            work = refresh.some(strategies, hashes) if partial else refresh.all()
            results = await refreshed(changes, work)
            moved = [each for each in results or () if each.previous_hash is not UNSET]
            before = {id: each.previous_hash for each in moved for id in each.instances or ()}
            after = {id: each.hash for each in moved for id in each.instances or ()}
            rehearse("refresh" if moved else "none", before, after)
        if results is None:
            return Response(RefreshResult(status="refreshing"), status_code=202)
        return Response(RefreshResult(status="partial_refresh" if partial else "refreshed", results=results))

    @post(
        "/modules",
        summary="Upload a strategy module",
        operation_id="uploadModule",
        opt={QUERY: CHANGE_QUERY},
        guards=[ADMIN],
        responses=FAULTY | CONFLICT,
    )
    async def upload_module(
        self,
        data: JSONBody[ModuleUpload],
        request: Request[Any, Any, Any],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[UploadResult | ModuleFaults]:
        """Checks a module in a process of its own and stores it."""
        await refuse_unknown(request, ModuleUpload, StrategyModule)
        return await _upload(services, changes, data, None, precondition)

    @put(
        "/modules/{selector:str}",
        summary="Upload a revision of a module",
        operation_id="updateModule",
        opt={QUERY: CHANGE_QUERY},
        guards=[ADMIN],
        responses=FAULTY | CONFLICT,
    )
    async def update_module(
        self,
        selector: FromPath[str],
        data: JSONBody[ModuleUpload],
        request: Request[Any, Any, Any],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[UploadResult | ModuleFaults]:
        """Checks a module and stores it; its class must have the name in the path."""
        await refuse_unknown(request, ModuleUpload, StrategyModule)
        return await _upload(services, changes, data, _parse(selector), precondition)

    @get(
        "/modules/{selector:str}",
        summary="Get a strategy module",
        operation_id="getModule",
        responses=NOT_FOUND,
    )
    async def get_module(
        self,
        selector: FromPath[str],
        services: NamedDependency[ControlServices],
        modules: NamedDependency[ModuleView],
    ) -> Response[StrategyModule]:
        """Returns a module, with the metadata of the selected revision. Raises NotFound."""
        module, row = await services.modules.find(_parse(selector))
        return Response(await modules.one(module, row), headers=_version(module))

    @get(
        "/modules/{selector:str}/source",
        summary="Get the source of a revision",
        operation_id="getModuleSource",
        media_type="text/x-python",
        responses=NOT_FOUND,
    )
    async def get_source(self, selector: FromPath[str], services: NamedDependency[ControlServices]) -> bytes:
        """Returns the exact bytes of a revision. Raises NotFound."""
        return await services.modules.source(_parse(selector))

    @get(
        "/modules/{selector:str}/usage",
        summary="Get the instances of a revision",
        operation_id="getModuleUsage",
        responses=NOT_FOUND,
    )
    async def get_usage(
        self,
        selector: FromPath[str],
        services: NamedDependency[ControlServices],
        strategies: NamedDependency[StrategyCatalogue],
        modules: NamedDependency[ModuleView],
        include_stopped: Annotated[bool, QueryParameter(name="includeStopped")] = False,
        limit: Count = None,
        offset: Count = None,
    ) -> ModuleUsage:
        """Returns the instances that are pinned to a revision. Raises NotFound."""
        parsed = _parse(selector)
        module, row = await services.modules.find(parsed)
        uses = await services.modules.uses([row.hash])
        manager = {instance.id: instance for instance in services.instances.all()}
        instances = [manager[use.id] for use in uses if use.id in manager]
        shown = [each for each in instances if include_stopped or each.running]
        start = min(offset or 0, len(shown))
        page = shown[start:] if limit is None else shown[start : start + limit]
        view = InstanceView(services, strategies)
        return ModuleUsage(
            selector=str(parsed),
            strategy=module.name,
            hash=row.hash,
            usage=modules.usage(module.name, row.hash, uses),
            instances=[view.summary(each) for each in page],
            total=len(shown),
            offset=start,
            limit=UNSET if limit is None else limit,
        )

    @delete(
        "/modules/{selector:str}",
        summary="Delete a module or one of its revisions",
        operation_id="deleteModule",
        opt={QUERY: CHANGE_QUERY},
        guards=[ADMIN],
        responses=NOT_FOUND | CONFLICT,
    )
    async def delete_module(
        self,
        selector: FromPath[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> None:
        """Deletes a module, or a revision with all its tags. Raises NotFound and Conflict."""
        with precondition.of_module():
            deletion = services.modules.delete(_parse(selector))
            await changes.result(deletion, f"deletion of module {selector}")

    @put(
        "/modules/{name:str}/tags/{tag:str}",
        status_code=200,
        summary="Move a tag to a revision",
        operation_id="setModuleTag",
        opt={QUERY: CHANGE_QUERY},
        guards=[ADMIN],
        responses=LATE_TAG | NOT_FOUND,
    )
    async def set_tag(
        self,
        name: FromPath[str],
        tag: FromPath[str],
        data: JSONBody[TagTarget],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[TagAssigned]:
        """Moves a tag, which is created if it does not exist. Raises NotFound."""
        hash = canonical_hash(data.hash)
        if hash is None:
            raise HttpError(400, "invalid_body", "`hash`: expected `sha256:` and 64 hex digits")
        try:
            with precondition.of_module():
                setting = services.modules.set_tag(name.lower(), tag, hash)
                before = await changes.result(setting, f"move of tag {name}:{tag}")
        except ValueError as error:
            raise HttpError(400, "invalid_parameter", str(error)) from None
        wanted = data.refresh is not False
        moves = wanted and before != hash
        refresh = services.refresh.tag(name, tag) if moves else None
        results = None if refresh is None else await refreshed(changes, refresh)
        answer = TagAssigned(
            strategy=name.lower(),
            tag=tag,
            hash=hash,
            previous_hash=optional(before),
            refresh=wanted,
            results=UNSET if results is None else results,
        )
        return Response(answer, status_code=202 if moves and results is None else 200)

    @delete(
        "/modules/{name:str}/tags/{tag:str}",
        status_code=200,
        summary="Delete a tag",
        operation_id="deleteModuleTag",
        opt={QUERY: (*CHANGE_QUERY, "allowOrphan")},
        guards=[ADMIN],
        responses=NOT_FOUND | CONFLICT,
    )
    async def delete_tag(
        self,
        name: FromPath[str],
        tag: FromPath[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
        allow_orphan: Annotated[bool, QueryParameter(name="allowOrphan")] = False,
    ) -> TagDeleted:
        """Deletes a tag; its revision remains. Raises NotFound and Conflict."""
        with precondition.of_module():
            deletion = services.modules.delete_tag(name.lower(), tag, allow_orphan=allow_orphan)
            hash = await changes.result(deletion, f"deletion of tag {name}:{tag}")
        return TagDeleted(strategy=name.lower(), tag=tag, hash=hash, allow_orphan=allow_orphan)


async def _upload(
    services: ControlServices,
    changes: ChangeRunner,
    data: ModuleUpload,
    selector: Selector | None,
    precondition: Precondition,
) -> Response[UploadResult | ModuleFaults]:
    if not services.uploads:
        text = "module not stored: uploads are turned off by `strategies.upload: false`"
        raise HttpError(403, "uploads_disabled", text)
    if not data.source.strip():
        raise HttpError(400, "invalid_body", "`source`: source required")
    selected_name, selected_tag = (None, None) if selector is None else (selector.name, selector.tag)
    upload = Upload(
        data.source.encode("utf-8", "surrogatepass"),
        tag=data.tag or selected_tag,
        aliases=data.aliases or [],
        promote=data.promote_latest,
        name=selected_name,
    )
    try:
        extend(CHECK_SECONDS)
        result = await services.modules.check(upload)
        with precondition.of_module():
            storing = services.modules.store(upload, result)
            module, row = await changes.result(storing, "upload of a module")
    except ModuleRefused as error:
        diagnostics = [_diagnostic(fault) for fault in error.faults]
        return Response(ModuleFaults(message=str(error), diagnostics=diagnostics), status_code=422)
    except TooManyChecks as error:
        raise HttpError(429, "too_many_checks", str(error)) from None
    except ValueError as error:
        raise HttpError(400, "invalid_body", str(error)) from None
    answer = UploadResult(
        filename=optional(data.filename),
        strategy_directory=DIRECTORY,
        module=uploaded(module, row),
        not_enforced=result.not_enforced or UNSET,
    )
    return Response(answer, headers=_version(module))


def _version(module: Module) -> dict[str, str]:
    """Returns the header with the version of a module: its revisions and its tags."""
    tags = {tag.lower(): hash for tag, hash in module.tags.items()}
    return {"etag": str(module_etag(module_state([row.hash for row in module.revisions], tags)))}


def _diagnostic(fault: Diagnostic) -> ModuleDiagnostic:
    return ModuleDiagnostic(
        stage=fault.stage,
        message=fault.message,
        line=UNSET if fault.line is None else fault.line,
        column=UNSET if fault.column is None else fault.column,
        hint=optional(fault.hint),
    )


def _parse(selector: str) -> Selector:
    try:
        return parse(selector)
    except ValueError as error:
        raise HttpError(400, "invalid_parameter", str(error)) from None


def _only(module: StrategyModule, hash: str | None) -> StrategyModule:
    """Returns a module with one of its revisions, or with none."""
    return structs.replace(
        module,
        revisions=[each for each in module.revisions if each.hash == hash],
        running=[each for each in module.running if each.hash == hash],
    )
