"""The requests about trading whose responses `test_control_recorded.py` compares with the recorded ones."""

from tests.integration.control_requests import INSTANCE
from tests.support.sent import JSON, Sent, get, post

TRADING: tuple[Sent, ...] = (
    get("orders", f"{INSTANCE}/watcher/orders"),
    get("orders by state and mode", f"{INSTANCE}/watcher/orders?limit=1&states=FILLED&state=ack&mode=live"),
    get("orders in a state that does not exist", f"{INSTANCE}/watcher/orders?states=OPEN"),
    get("orders with a limit that is not valid", f"{INSTANCE}/watcher/orders?limit=0"),
    get("orders of an instance that does not exist", f"{INSTANCE}/zzzzzz/orders"),
    get("fills", f"{INSTANCE}/watcher/executions"),
    get("fills of an id that is not valid", f"{INSTANCE}/watcher/executions?orderId=1"),
    get("positions", f"{INSTANCE}/watcher/positions"),
    get("balances", "/providers/main/balances?asset=usdt"),
    get("lines while nothing trades", "/providers/main/lines"),
    get("lines of a provider that nearly exists", "/providers/mian/lines"),
    get("the ledger of an account", "/providers/main/ledger?currency=usdt&limit=1"),
    get("the ledger from a cursor that is not valid", "/providers/main/ledger?cursor=x"),
    post(
        "a booking while nothing trades",
        "/providers/main/lines/book",
        (JSON,),
        b'{"mode":"live","currency":"USDT","amount":"0.5","reason":"a gift"}',
    ),
    get("refused orders", "/refusals?instance=watcher"),
    get("refused orders by instance and rule", "/refusals/counts"),
    get("events that a consumer waits for", "/outbox"),
    get("events of a kind that does not exist", "/outbox?aggregateType=trade"),
    get("consumers of events", "/outbox/consumers"),
    get("a consumer of events", "/outbox/consumers/hook"),
    get("a consumer of events that nearly exists", "/outbox/consumers/hok"),
    post("a retry of dead letters", "/outbox/consumers/hook/retry", (JSON,), b'{"reason":"it is back"}'),
    post("dead letters that are dropped", "/outbox/consumers/hook/drop", (JSON,), b'{"reason":"too old"}'),
    Sent("deletion of an event", "DELETE", "/outbox/1000"),
    Sent("deletion of an event that was deleted", "DELETE", "/outbox/1000"),
    get("the latest balances", "/providers/main/balances?latest=true&mode=paper"),
    get("limits", "/risk/limits"),
    get("the state of risk", "/risk/status"),
    get("orders of all instances", "/orders?instance=watcher&symbol=BTC-USDT&state=filled"),
    get("an order", "/orders/00000000-0000-0000-0000-000000000001"),
    get("an order that does not exist", "/orders/00000000-0000-0000-0000-000000000009"),
    post("halt", "/risk/halt", (JSON,), b'{"scope":"provider:main","reason":"prices look wrong"}'),
    post("halt of a halted scope", "/risk/halt", (JSON,), b'{"scope":"provider:main","reason":"again"}'),
    post("resume", "/risk/resume", (JSON,), b'{"scope":"provider:main","reason":"prices are right"}'),
    get("the audit", "/audit?action=risk.&subject=provider:main"),
    get("the audit by a cursor that is not valid", "/audit?cursor=x"),
    post("halt without a reason", "/risk/halt", (JSON,), b'{"scope":"provider:main"}'),
    post(
        "halt of a scope that nearly exists", "/risk/halt", (JSON,), b'{"scope":"provider:mian","reason":"-"}'
    ),
    post("flatten while nothing trades", "/risk/flatten", (JSON,), b'{"reason":"prices look wrong"}'),
)
