"""What ends each cause for which an instance gets no event, or for which its orders do not go out."""

from typing import Final

REMEDIES: Final = {
    # The instance
    "not_running": "start it: `meltica instances start {id}`",
    "starting": "wait until the start completes, or stop it: `meltica instances stop {id}`",
    "failed": "correct the strategy or its config, then `meltica instances restart {id}`; `meltica logs {id}`"
    " has the log",
    "stuck": "let the callback return; a restart abandons it: `meltica instances restart {id}`",
    "not_subscribed": "override a callback of events, such as `on_trade`, or add the kind to `needs`",
    "left_out": "create the instance again with fewer symbols, stop others, or raise `pools.maxBytes`;"
    " `meltica instances show {id}` names what is left out",
    "no_event": "check that the providers receive data: `meltica providers list`; the filters of the strategy"
    " may also match nothing",
    # Its providers
    "provider_absent": "put the provider back into the config file; or delete the instance,"
    " `meltica instances delete {id}`, and create it again with one of `meltica providers list`",
    "provider_down": "correct what the error names; if the provider is stopped: `meltica providers start"
    " {subject}`",
    "provider_ended": "its recording has ended; start it again: `meltica providers start {subject}`",
    "provider_disconnected": "check the network and the status of the venue; the provider connects again by"
    " itself; `meltica providers show {provider}` has the error",
    "routes_failed": "check that the venue serves these subscriptions; they are retried;"
    " `meltica providers show {provider}` has the latest error",
    "not_served": "use a provider whose adapter has the capability: `meltica api GET /adapters`",
    "symbol_unknown": "create the instance again with a symbol that the provider lists: `meltica providers"
    " show {provider}`",
    # Its orders
    "halted": "end the halt when its reason is over: `meltica risk resume {subject}`",
    "breaker_open": "wait until the breaker closes, or `meltica risk resume instance:{id}`",
    "not_reconciled": "wait until the account is reconciled; if it takes long, check the provider and its"
    " credentials",
    "unknown_order": "query it at the venue: `meltica orders query {order} --reason unknown`; if the venue"
    " does not know either, end it as `meltica orders resolve --help` says",
    "difference": "find the deposit, withdrawal or foreign trade at the venue, and book it as"
    " `meltica balances book --help` says; see docs/trading.md",
    "max_daily_loss": "wait for a fresh price of every position, so that the loss can be valued",
    "max_drawdown_percent": "set `capital` in the limits of the scope: `meltica risk limits` shows them",
    "instrument": "wait until the venue trades the symbol again, or use another symbol",
    "no_reference": "wait for prices of the symbol; check that the provider sends its ticker or book",
    "market_stale": "wait for newer prices; if the symbol trades rarely, raise `staleMarketSeconds`, which"
    " `meltica risk limits` shows",
    "feed_lag": "check the load of the machine and the network; or raise `maxFeedLag`",
    "no_orders": "trading starts again by itself; if it does not, restart the gateway",
    "not_written": "check the database: orders go out again when a commit succeeds",
    "ledger_frozen": "restart the gateway, so that the account is reconciled",
    "orders_lost": "adopt or cancel the orders, which an older backup does not have, as"
    " `meltica balances adopt --help` says; see docs/trading.md",
    "misplaced_order": "put the provider of the order back into the configuration",
    "absent_provider": "put the provider back into the configuration, or release the position as"
    " `meltica positions release --help` says",
    "disagreement": "wait until the account is reconciled; then compare the order with the venue:"
    " `meltica orders list --instance {id}`",
    "refused": "see the rule `{subject}` in docs/risk.md; `meltica risk limits` has the limits",
    "history_unavailable": "check the database; refusals before now are not counted",
}
"""Kind of a cause -> remedy."""


def remedy(kind: str, *, id: str, subject: str, order: str = "") -> str:
    """Returns the remedy of a cause."""
    provider = subject.partition(" ")[0]  # a subject may be a symbol of it, or its account
    return REMEDIES[kind].format(id=id, subject=subject, provider=provider, order=order)
