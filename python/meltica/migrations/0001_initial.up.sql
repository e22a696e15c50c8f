-- Providers, instances, orders, executions, balances, halts, and the outbox.
--
-- Times have microseconds. Amounts are exact and keep the digits they were written with: 0.10 stays 0.10.

create domain amount as numeric
    -- Refuses infinity, and NaN, which PostgreSQL sorts above it.
    check (value >= 0 and value < 'infinity');

create table providers (
    name       text primary key check (name <> ''),
    adapter    text not null check (adapter <> ''),
    settings   jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
    -- `baseline` came from the configuration file, `dynamic` through the API.
    origin     text not null check (origin in ('baseline', 'dynamic')),
    desired    text not null default 'stopped' check (desired in ('running', 'stopped')),
    actual     text not null default 'pending'
        check (actual in ('pending', 'starting', 'running', 'stopped', 'failed')),
    last_error text,
    created_at timestamptz not null default now(),
    -- Of what was asked for: adapter, settings, origin, desired.
    updated_at timestamptz not null default now()
);

create table instances (
    id         text primary key check (id <> ''),
    strategy   text not null check (strategy <> ''),
    -- What was asked for (`name`, `name:tag`, `name@hash`), and what it was pinned to.
    selector   text not null check (selector <> ''),
    tag        text,
    revision   text,
    config     jsonb not null default '{}' check (jsonb_typeof(config) = 'object'),
    -- Provider -> symbols, or "*" for all of them.
    scope      jsonb not null check (jsonb_typeof(scope) = 'object'),
    host       text not null check (host in ('thread', 'shared', 'process')),
    on_stop    text not null default 'cancel' check (on_stop in ('cancel', 'keep')),
    origin     text not null check (origin in ('baseline', 'dynamic')),
    desired    text not null default 'stopped' check (desired in ('running', 'stopped')),
    actual     text not null default 'pending'
        check (actual in ('pending', 'starting', 'running', 'stopping', 'stopped', 'failed', 'stuck')),
    last_error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create index instances_by_revision on instances (strategy, revision);

-- An order names its provider and instance without referring to their rows: history outlives both.
create table orders (
    id              uuid primary key,
    provider        text not null,
    instance        text not null,
    client_order_id text not null check (length(client_order_id) between 1 and 20),
    symbol          text not null,
    side            text not null check (side in ('Buy', 'Sell')),
    type            text not null check (type in ('Limit', 'Market')),
    time_in_force   text not null check (time_in_force in ('GTC', 'IOC', 'FOK')),
    quantity        amount not null check (quantity > 0),
    price           amount,
    -- Never refused for being more than was ordered: what the venue did is a fact.
    filled          amount not null default 0,
    average_price   amount,
    state           text not null default 'PENDING' check (
        state in ('PENDING', 'ACK', 'PARTIAL', 'FILLED', 'CANCELLED', 'REJECTED', 'EXPIRED', 'UNKNOWN')
    ),
    external_ref    text,
    placed_at       timestamptz not null,
    acknowledged_at timestamptz,
    completed_at    timestamptz,
    metadata        jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    check ((type = 'Limit') = (price is not null)),
    unique (provider, client_order_id)
);

create index orders_of_instance on orders (instance, placed_at desc, id);
create index orders_by_external_ref on orders (provider, external_ref) where external_ref is not null;
-- What must be reconciled after a restart or reconnect.
create index orders_open on orders (provider, symbol)
    where state in ('PENDING', 'ACK', 'PARTIAL', 'UNKNOWN');

create table executions (
    order_id     uuid not null references orders,
    -- The venue's. Many venues number fills by symbol and give both sides of a trade one id: only with the
    -- order is it unique.
    execution_id text not null check (execution_id <> ''),
    quantity     amount not null check (quantity > 0),
    price        amount not null,
    -- A maker's rebate is negative.
    fee          numeric check (fee > '-infinity' and fee < 'infinity'),
    fee_asset    text,
    liquidity    text check (liquidity in ('maker', 'taker')),
    traded_at    timestamptz not null,
    -- Found by asking the venue after a restart or reconnect.
    recovered    boolean not null default false,
    metadata     jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    created_at   timestamptz not null default now(),
    primary key (order_id, execution_id)
);

create index executions_by_time on executions (traded_at desc);

create table balances (
    provider    text not null,
    asset       text not null,
    snapshot_at timestamptz not null,
    -- A margin account can owe: neither has to be positive.
    total       numeric not null check (total > '-infinity' and total < 'infinity'),
    available   numeric not null check (available > '-infinity' and available < 'infinity'),
    metadata    jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    created_at  timestamptz not null default now(),
    primary key (provider, asset, snapshot_at)
);

-- A halt lasts until it is cleared; there is at most one at a time for each scope and subject.
create table halts (
    id         bigint generated always as identity primary key,
    scope      text not null check (scope in ('global', 'provider', 'instance')),
    -- The provider or instance; empty for the global scope.
    subject    text not null default '',
    rule       text not null,
    reason     text not null,
    halted_at  timestamptz not null default now(),
    cleared_at timestamptz,
    cleared_by text,
    check ((scope = 'global') = (subject = ''))
);

create unique index halts_active on halts (scope, subject) where cleared_at is null;

-- A consumer gets its own delivery of each event that is written after it was made. One statement, in the
-- transaction of what the event tells, writes both:
--     with event as (insert into outbox (...) values (...) returning id)
--     insert into outbox_deliveries (consumer, event) select name, id from outbox_consumers, event
-- A consumer claims rows with `for update skip locked`, deletes what it delivered, and postpones what failed.
create table outbox (
    id             bigint generated always as identity primary key,
    aggregate_type text not null,
    aggregate_id   text not null,
    event_type     text not null,
    payload        jsonb not null,
    headers        jsonb not null default '{}' check (jsonb_typeof(headers) = 'object'),
    created_at     timestamptz not null default now()
);

create index outbox_by_age on outbox (created_at);

create table outbox_consumers (
    name       text primary key check (name <> ''),
    created_at timestamptz not null default now()
);

create table outbox_deliveries (
    consumer     text not null references outbox_consumers on delete cascade,
    event        bigint not null references outbox on delete cascade,
    attempts     integer not null default 0,
    available_at timestamptz not null default now(),
    last_error   text,
    -- Given up on after too many attempts; kept to be seen, tried again or deleted.
    dead         boolean not null default false,
    primary key (consumer, event)
);

create index outbox_deliveries_due on outbox_deliveries (consumer, available_at, event) where not dead;
create index outbox_deliveries_of_event on outbox_deliveries (event);
