"""What the dashboards show. `python docs/dashboards/make.py` writes the JSON files of this table."""

from panels import Board, Panel, each, lines, quantiles, rate, stat, total

OVERVIEW = Board(
    "Overview",
    {
        "Now": [
            stat("Gateways up", "sum(up{@})"),
            stat("Uptime", "min(meltica_uptime_seconds{@})", "s"),
            stat("Gateway lock held", "sum(meltica_gateway_lock_held{@})", text="At 0 no order is sent."),
            stat(
                "Providers not connected",
                "sum(meltica_provider_desired{@}) - sum(meltica_provider_connected{@})",
                text="Providers that are desired to run and are not connected to their venue.",
            ),
            stat(
                "Lambdas failed or stuck",
                'sum(meltica_lambda_state{@, state=~"failed|stuck"})',
                text="A stuck lambda is in a callback that does not return.",
            ),
            stat("Resource shortages", "sum(meltica_resource_shortage{@})"),
        ],
        "Flow": [
            each("Events", "cps", "{provider}", rate("meltica_eventbus_events_published_total", "provider")),
            each("Events lost", "cps", "{lambda}", rate("meltica_lambda_events_dropped_total", "lambda")),
            each(
                "Callback errors", "cps", "{lambda}", rate("meltica_lambda_callback_errors_total", "lambda")
            ),
            quantiles("Event to callback", "meltica_lambda_latency_seconds", "lambda"),
        ],
        "Trading": [
            each(
                "Open orders", "none", "{mode} {state}", total("meltica_trading_open_orders", "mode, state")
            ),
            each("Fills", "cps", "{mode}", rate("meltica_trading_fills_total", "mode")),
            each(
                "Refusals of risk",
                "cps",
                "{mode} {rule}",
                rate("meltica_trading_refusals_total", "mode, rule"),
                "Empty until the first refusal.",
            ),
            each(
                "Accounts reconciled",
                "none",
                "{provider} {mode}",
                "min by (provider, mode) (meltica_trading_account_reconciled{@})",
                "At 0 no order of the account is sent.",
            ),
        ],
    },
)
PROVIDERS = Board(
    "Providers and books",
    {
        "Connections": [
            each("Connected", "none", "{provider}", "min by (provider) (meltica_provider_connected{@})"),
            each("States", "none", "{provider} {state}", "meltica_provider_state{@} == 1"),
            each("Restarts", "none", "{provider}", total("meltica_provider_restarts_total", "provider")),
            each("Instruments", "none", "{provider}", total("meltica_provider_instruments", "provider")),
        ],
        "Frames and events": [
            each("Frames", "cps", "{provider}", rate("meltica_provider_frames_total", "provider")),
            each("Bytes", "Bps", "{provider}", rate("meltica_provider_frame_bytes_total", "provider")),
            each(
                "Events by kind",
                "cps",
                "{provider} {event_type}",
                rate("meltica_eventbus_events_published_total", "provider, event_type"),
            ),
            each(
                "Messages without an event",
                "cps",
                "{provider} {cause}",
                rate("meltica_provider_messages_unused_total", "provider, cause"),
                "The causes are in docs/telemetry.md.",
            ),
            Panel(
                "Events left out",
                "cps",
                {
                    "{{provider}} unwanted": rate("meltica_dispatcher_events_unwanted_total", "provider"),
                    "{{provider}} duplicate": rate("meltica_dispatcher_events_duplicate_total", "provider"),
                    "{{provider}} stale": rate("meltica_dispatcher_events_stale_total", "provider"),
                },
            ),
            each(
                "Ignored messages",
                "cps",
                "{provider}",
                rate("meltica_provider_messages_ignored_total", "provider"),
            ),
        ],
        "Faults": [
            each(
                "Frames not decoded",
                "cps",
                "{provider} {error}",
                rate("meltica_provider_errors_total", "provider, error"),
            ),
            each(
                "Unknown values",
                "cps",
                "{provider}",
                rate("meltica_provider_unknown_enums_total", "provider"),
            ),
            each("Lost frames", "none", "{provider}", total("meltica_provider_frame_gaps_total", "provider")),
            each(
                "Restarts of numbers",
                "none",
                "{provider} {of}",
                total("meltica_provider_number_restarts_total", "provider, of"),
            ),
            each(
                "Late trades", "none", "{provider}", total("meltica_provider_late_trades_total", "provider")
            ),
            each(
                "Crossed tickers",
                "cps",
                "{provider}",
                rate("meltica_provider_crossed_tickers_total", "provider"),
            ),
        ],
        "Books": [
            each(
                "Books without a snapshot",
                "none",
                "{provider}",
                total("meltica_provider_books_unsynced", "provider"),
            ),
            each(
                "Books that became stale",
                "cps",
                "{provider} {reason}",
                rate("meltica_provider_books_stale_total", "provider, reason"),
            ),
            each("Gaps", "cps", "{provider}", rate("meltica_provider_book_gaps_total", "provider")),
            each(
                "Takeovers by another connection",
                "cps",
                "{provider}",
                rate("meltica_provider_book_takeovers_total", "provider"),
            ),
            each(
                "Waiting changes", "bytes", "{provider}", total("meltica_provider_waiting_bytes", "provider")
            ),
            each(
                "Checksums",
                "cps",
                "{provider} {outcome}",
                rate("meltica_provider_checksums_total", "provider, outcome"),
            ),
            each(
                "Checksum faults",
                "none",
                "{provider}",
                total("meltica_provider_checksum_faults_total", "provider"),
            ),
        ],
    },
)
LAMBDAS = Board(
    "Lambdas",
    {
        "States": [
            each("States", "none", "{lambda} {state}", "meltica_lambda_state{@} == 1"),
            each(
                "Desired and not running",
                "none",
                "{lambda}",
                "sum by (lambda) (meltica_lambda_desired{@})"
                ' - sum by (lambda) (meltica_lambda_state{@, state="running"})',
            ),
            each(
                "Revisions",
                "none",
                "{strategy} {hash}",
                total("meltica_strategy_revision_instances", "strategy, hash"),
            ),
            each(
                "Current callback", "s", "{lambda}", "max by (lambda) (meltica_lambda_in_callback_seconds{@})"
            ),
        ],
        "Events": [
            each(
                "Delivered",
                "cps",
                "{lambda} {event_type}",
                rate("meltica_lambda_events_delivered_total", "lambda, event_type"),
            ),
            each(
                "Conflated",
                "cps",
                "{lambda} {event_type}",
                rate("meltica_lambda_events_conflated_total", "lambda, event_type"),
            ),
            each(
                "Dropped",
                "cps",
                "{lambda} {event_type}",
                rate("meltica_lambda_events_dropped_total", "lambda, event_type"),
            ),
            each("Emitted", "cps", "{lambda}", rate("meltica_lambda_events_emitted_total", "lambda")),
            each("Symbols left out", "none", "{lambda}", total("meltica_lambda_symbols_left_out", "lambda")),
            each("Subscribers", "none", "{event_type}", total("meltica_eventbus_subscribers", "event_type")),
        ],
        "Callbacks": [
            each(
                "Callback errors", "cps", "{lambda}", rate("meltica_lambda_callback_errors_total", "lambda")
            ),
            each("Slow callbacks", "cps", "{lambda}", rate("meltica_lambda_slow_callbacks_total", "lambda")),
            quantiles("Duration of callbacks", "meltica_lambda_callback_duration_seconds", "lambda"),
            quantiles("Event to callback", "meltica_lambda_latency_seconds", "lambda"),
        ],
    },
)
ORDERS = Board(
    "Orders and risk",
    {
        "Orders": [
            each(
                "Open orders", "none", "{mode} {state}", total("meltica_trading_open_orders", "mode, state")
            ),
            each(
                "Changes of orders",
                "cps",
                "{mode} {state}",
                rate("meltica_trading_order_reports_total", "mode, state"),
            ),
            each("Fills", "cps", "{mode}", rate("meltica_trading_fills_total", "mode")),
            quantiles("Event to acknowledgement", "meltica_trading_order_duration_seconds", "lambda, mode"),
        ],
        "Risk": [
            each(
                "Refusals by rule",
                "cps",
                "{mode} {rule}",
                rate("meltica_trading_refusals_total", "mode, rule"),
                "Empty until the first refusal.",
            ),
            stat(
                "Orders may be sent",
                "min(meltica_gateway_lock_held{@})",
                text="0: another gateway holds the lock.",
            ),
        ],
        "Accounts": [
            each(
                "Accounts reconciled",
                "none",
                "{provider} {mode}",
                "min by (provider, mode) (meltica_trading_account_reconciled{@})",
            ),
            each(
                "Difference to the venue",
                "none",
                "{provider} {mode} {currency}",
                total("meltica_trading_difference", "provider, mode, currency"),
                "Empty until a balance differs for 10 s from what Meltica can explain.",
            ),
        ],
    },
)
LATENCY = Board(
    "Latency",
    {
        "Market data": [
            quantiles("Frame to dispatch", "meltica_dispatcher_processing_duration_seconds", "provider"),
            quantiles("Dispatch to callback", "meltica_lambda_latency_seconds", "lambda, provider"),
            quantiles("Callback", "meltica_lambda_callback_duration_seconds", "lambda, provider"),
        ],
        "Orders": [
            quantiles("Steps of orders", "meltica_trading_step_duration_seconds", "provider, mode, step"),
            quantiles("Event to acknowledgement", "meltica_trading_order_duration_seconds", "lambda, mode"),
            lines(
                "Commit",
                "s",
                "The mean of the interval.",
                mean="sum(rate(meltica_trading_commit_seconds_total{@}[~]))"
                " / (sum(rate(meltica_trading_commits_total{@}[~])) > 0)",
            ),
        ],
    },
)
DATABASE = Board(
    "Database and outbox",
    {
        "Pool": [
            each("Connections", "none", "{state}", total("meltica_db_pool_connections", "state")),
            lines("Waiting requests", "none", waiting="sum(meltica_db_pool_waiting{@})"),
            lines(
                "Requests",
                "cps",
                requests="sum(rate(meltica_db_pool_requests_total{@}[~]))",
                timed_out="sum(rate(meltica_db_pool_request_errors_total{@}[~]))",
            ),
            lines(
                "Lost and failed connections",
                "none",
                failed="sum(meltica_db_pool_connection_errors_total{@})",
                lost="sum(meltica_db_pool_connections_lost_total{@})",
            ),
        ],
        "Tables": [
            each("Size", "bytes", "{table}", total("meltica_db_table_bytes", "table")),
            each("Rows", "none", "{table}", total("meltica_db_table_rows", "table")),
            each("Pruned rows", "none", "{table}", total("meltica_db_rows_pruned_total", "table")),
            each(
                "Rows of the outbox",
                "none",
                "{table}",
                'sum by (table) (meltica_db_table_rows{@, table=~".*outbox.*"})',
            ),
        ],
        "Commits": [
            lines("Commits", "cps", commits="sum(rate(meltica_trading_commits_total{@}[~]))"),
            stat("Gateway lock held", "sum(meltica_gateway_lock_held{@})"),
        ],
    },
)
PROCESS = Board(
    "Process",
    {
        "Process": [
            each(
                "Version",
                "none",
                "{version}, Python {python_version}, {environment}",
                "meltica_build_info{@}",
            ),
            lines("CPU", "none", cores="sum by (instance) (rate(process_cpu_seconds_total{@}[~]))"),
            lines(
                "Memory",
                "bytes",
                resident="sum by (instance) (process_resident_memory_bytes{@})",
                free="sum by (instance) (meltica_memory_free_bytes{@})",
            ),
            lines("Threads", "none", threads="sum by (instance) (process_threads{@})"),
            lines(
                "Files",
                "none",
                open="sum by (instance) (process_open_fds{@})",
                free="sum by (instance) (meltica_file_descriptors_free{@})",
            ),
            each("Free disk space", "bytes", "{disk}", "min by (disk) (meltica_disk_free_bytes{@})"),
            each("Resource shortages", "none", "{resource}", total("meltica_resource_shortage", "resource")),
        ],
        "Pools": [
            each(
                "Slots in use",
                "percentunit",
                "{pool_name}",
                "sum by (pool_name) (meltica_pool_objects_active{@})"
                " / sum by (pool_name) (meltica_pool_capacity{@} > 0)",
            ),
            each("Pool exhausted", "cps", "{pool_name}", rate("meltica_pool_exhausted_total", "pool_name")),
            lines(
                "Reserved memory",
                "bytes",
                reserved="sum(meltica_pool_reserved_bytes{@})",
                limit="sum(meltica_pool_limit_bytes{@})",
            ),
            lines("Extension events", "bytes", waiting="sum(meltica_eventbus_extension_bytes{@})"),
        ],
        "Control plane": [
            each(
                "Requests", "reqps", "{method} {status}", rate("meltica_api_requests_total", "method, status")
            ),
            lines("Event streams", "none", streams="sum(meltica_event_streams{@})"),
            each("Ended streams", "cps", "{code}", rate("meltica_event_streams_ended_total", "code")),
            lines(
                "Refused connections", "cps", refused="sum(rate(meltica_api_connections_refused_total{@}[~]))"
            ),
        ],
    },
)
BOARDS = (OVERVIEW, PROVIDERS, LAMBDAS, ORDERS, LATENCY, DATABASE, PROCESS)
