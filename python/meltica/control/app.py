"""The control plane's application: a controller per resource, behind the request gate."""

from litestar import Controller, Litestar
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp, HTTPScope

from meltica.control.access import Principal, actor, admit_all, public_paths, refuse_undeclared
from meltica.control.authentication import public_client
from meltica.control.bodies import refuse_query
from meltica.control.catalogues import AdapterCatalogue, StrategyCatalogue
from meltica.control.changes import ChangeRunner
from meltica.control.preconditions import Planned, Precondition, answer_plan
from meltica.control.query import TolerantQuery
from meltica.control.readiness import ReadinessCheck
from meltica.control.routes.accounts import AccountsController
from meltica.control.routes.adapters import AdaptersController
from meltica.control.routes.audit import AuditController
from meltica.control.routes.backup import PATH as BACKUP
from meltica.control.routes.backup import BackupController
from meltica.control.routes.balances import BalancesController
from meltica.control.routes.config_backup import PATH as CONFIG_BACKUP
from meltica.control.routes.config_backup import ConfigBackupController
from meltica.control.routes.configuration import ConfigurationController
from meltica.control.routes.deliveries import DeliveriesController
from meltica.control.routes.events import EventsController
from meltica.control.routes.health import HealthController
from meltica.control.routes.instance_logs import InstanceLogsController
from meltica.control.routes.instance_runs import InstanceRunsController
from meltica.control.routes.instances import InstancesController
from meltica.control.routes.metrics import MetricsController
from meltica.control.routes.modules import ModulesController
from meltica.control.routes.openapi import OpenApiController, openapi_config
from meltica.control.routes.order_actions import OrderActionsController
from meltica.control.routes.orders import OrdersController
from meltica.control.routes.outbox import OutboxController
from meltica.control.routes.positions import PositionsController
from meltica.control.routes.providers import ProvidersController
from meltica.control.routes.refusals import RefusalsController
from meltica.control.routes.risk import RiskController
from meltica.control.routes.risk_actions import RiskActionsController
from meltica.control.routes.strategies import StrategiesController
from meltica.control.routes.tokens import TokensController
from meltica.control.routes.version import VersionController
from meltica.control.routes.why import WhyController
from meltica.control.services import ControlServices
from meltica.control.streams.metrics import stream_metrics
from meltica.control.streams.service import EventStreams
from meltica.http.answer_time import AnswerTime
from meltica.http.clients import ClientRules
from meltica.http.errors import error_handler
from meltica.http.metrics import request_metrics
from meltica.http.options import allow_methods
from meltica.http.request_gate import RequestCounts, RequestGate, refuse_body
from meltica.http.request_trace import RequestTrace

CONTROLLERS: tuple[type[Controller], ...] = (
    HealthController,
    VersionController,
    MetricsController,
    StrategiesController,
    ModulesController,
    AdaptersController,
    ProvidersController,
    InstancesController,
    InstanceRunsController,
    InstanceLogsController,
    WhyController,
    OrdersController,
    OrderActionsController,
    RiskActionsController,
    PositionsController,
    BalancesController,
    AccountsController,
    RiskController,
    RefusalsController,
    OutboxController,
    TokensController,
    AuditController,
    EventsController,
    ConfigurationController,
    BackupController,
    ConfigBackupController,
    DeliveriesController,
    OpenApiController,
)


def create_app(services: ControlServices, rules: ClientRules) -> ASGIApp:
    """Returns the application over one gateway. `rules` say which hosts and origins it accepts."""
    runner = ChangeRunner()
    streams = EventStreams.of(services, services.tokens.authenticator or admit_all)

    def changes(actor: NamedDependency[str]) -> ChangeRunner:
        return runner.on_behalf_of(actor)

    app = Litestar(
        CONTROLLERS,
        dependencies={
            "services": _provide(services),
            "streams": _provide(streams),
            "changes": Provide(changes, sync_to_thread=False),
            "strategies": _provide(StrategyCatalogue(services.instances, services.modules)),
            "adapters": _provide(AdapterCatalogue()),
            "actor": Provide(actor, sync_to_thread=False),
            "precondition": Provide(Precondition.of, sync_to_thread=False),
            "readiness": _provide(ReadinessCheck(services.find_faults)),
        },
        guards=[refuse_undeclared, refuse_body, refuse_query],
        before_send=[allow_methods],
        exception_handlers={Exception: error_handler("see /openapi.json"), Planned: answer_plan},
        openapi_config=openapi_config(),
        logging_config=None,
    )
    public = public_paths(app)

    async def authenticate(scope: HTTPScope) -> Principal:
        """Returns the client; a probe has to work without the database, so its token is not looked up."""
        is_public = scope["method"] == "GET" and scope["path"].rstrip("/") in public
        return public_client(scope) if is_public else await streams.tickets(scope)

    requests = RequestCounts()
    services.metrics.register(request_metrics(requests))
    services.metrics.register(stream_metrics(streams.hub, streams.market))
    streamed = {BACKUP, CONFIG_BACKUP}
    in_time = AnswerTime(app, streamed=streamed)
    gate = RequestGate(TolerantQuery(in_time), rules, requests, authenticate=authenticate, streamed=streamed)
    return RequestTrace(gate, services.add_span, services.wants_spans)


def _provide(value: object) -> Provide:
    """Returns a dependency that is the same object for every request."""

    def provided() -> object:
        return value

    return Provide(provided, sync_to_thread=False)
