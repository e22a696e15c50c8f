-- Everything that trading persists: the owners and times of orders, positions, balances, risk, and what failed.
--
-- Times of trading are integers, in nanoseconds since the epoch, because venues report more than microseconds.
-- Existing orders get the mode `live` and the uid of zeros, which no instance has.

create domain nanoseconds as bigint check (value >= 0);
create domain signed_amount as numeric
    -- Refuses infinity, and NaN, which PostgreSQL sorts above it. Unlike an amount, it may be negative.
    check (value > '-infinity' and value < 'infinity');
create domain trading_mode as text check (value in ('live', 'paper'));

-- One row: the mark in the client order ids of this home. It never changes.
create table home (
    id   boolean primary key default true check (id),
    mark text not null check (mark ~ '^[0-9a-z]{3}$')
);

create function pg_temp.rename_constraints(relation regclass, old text, new text) returns void
language plpgsql as $$
declare
    name text;
begin
    for name in select conname from pg_constraint where conrelid = relation and starts_with(conname, old) loop
        execute format('alter table %s rename constraint %I to %I', relation, name, new || substr(name, length(old) + 1));
    end loop;
end;
$$;

create function pg_temp.nanoseconds(at timestamptz) returns bigint language sql immutable
    return (extract(epoch from at) * 1000000000)::bigint;

alter table orders
    alter column placed_at type nanoseconds using pg_temp.nanoseconds(placed_at),
    alter column acknowledged_at type nanoseconds using pg_temp.nanoseconds(acknowledged_at),
    alter column completed_at type nanoseconds using pg_temp.nanoseconds(completed_at),
    -- The sum of price x quantity of the fills: exact, unlike their average.
    alter column average_price type amount using coalesce(average_price * filled_quantity, 0),
    alter column average_price set default 0,
    alter column average_price set not null;
alter table orders rename column placed_at to intent_at;
select pg_temp.rename_constraints('orders', 'orders_placed_at_', 'orders_intent_at_');
alter table orders rename column completed_at to ended_at;
alter table orders rename column average_price to filled_cost;
select pg_temp.rename_constraints('orders', 'orders_average_price_', 'orders_filled_cost_');

alter table orders
    -- Each creation of an instance has a uid; its id can be used again after it was deleted.
    add column uid                uuid not null default '00000000-0000-0000-0000-000000000000',
    add column mode               trading_mode not null default 'live',
    -- The revision of a shadow, which trades beside the instance; else null.
    add column revision           text,
    add column post_only          boolean not null default false,
    add column reduce_only        boolean not null default false,
    -- The limit that was sent. A market order leaves as a limit at the edge of the price band.
    add column limit_price        amount,
    add column tag                text check (octet_length(tag) <= 256),
    add column expires_at         nanoseconds,
    add column reason             text check (octet_length(reason) <= 4096),
    add column cancel_wanted      boolean not null default false,
    -- The amendment in flight, at most one; all null without one. The quantity is the whole, fills included.
    add column amendment_price    amount,
    add column amendment_quantity amount,
    add column amendment_sent_at  nanoseconds,
    add column amendment_unknown  boolean,
    add column approved_at        nanoseconds,
    add column committed_at       nanoseconds,
    add column sent_at            nanoseconds,
    -- The venue's time of its last report.
    add column venue_time         nanoseconds,
    -- The number of the report of its end; checkpoints name the last report that a strategy saw.
    add column end_report         bigint,
    add constraint orders_venue_order_id_check check (octet_length(venue_order_id) <= 256),
    add constraint orders_amendment_check check (
        (amendment_unknown is null) = (amendment_price is null and amendment_quantity is null)
    ),
    drop constraint orders_provider_client_order_id_key,
    add constraint orders_client_order_id_key unique (client_order_id);
update orders set limit_price = coalesce(price, 0);
alter table orders
    alter column uid drop default,
    alter column mode drop default,
    alter column limit_price set not null;

create index orders_of_instance_by_state on orders (instance, state, intent_at desc, id);
create index orders_by_end on orders (ended_at) where ended_at is not null;
create index orders_by_end_report on orders (end_report) where end_report is not null;

alter table fills
    alter column traded_at type nanoseconds using pg_temp.nanoseconds(traded_at),
    -- Those of the order, for the history of an instance.
    add column provider text not null default '',
    add column instance text not null default '',
    -- The rule by which a paper account filled; null for a fill of a venue.
    add column rule     text check (rule in ('taker', 'queue', 'traded_through')),
    add column trade_id text,
    add column report   bigint not null default 0,
    add constraint fills_execution_id_length_check check (octet_length(execution_id) <= 256);
update fills set provider = orders.provider, instance = orders.instance
from orders where orders.id = fills.order_id;
alter table fills
    alter column provider drop default,
    alter column instance drop default,
    alter column report drop default;

create index fills_of_instance on fills (instance, traded_at desc);
create index fills_by_report on fills (report);

alter table balances
    alter column snapshot_at type nanoseconds using pg_temp.nanoseconds(snapshot_at),
    add column mode trading_mode not null default 'live',
    drop constraint balances_pkey,
    add constraint balances_pkey primary key (provider, mode, currency, snapshot_at);
alter table balances alter column mode drop default;

create index balances_by_time on balances (snapshot_at);

-- Each creation of an instance has a uid, which its orders and positions carry.
alter table instances add column uid uuid not null default gen_random_uuid();

-- A halt of one mode leaves the other one alone; without a mode it concerns both.
alter table halts
    add column halted_by text not null default 'meltica',
    add column mode trading_mode;
drop index halts_active;
create unique index halts_active on halts (scope, subject, coalesce(mode::text, '')) where cleared_at is null;

drop function pg_temp.rename_constraints;
drop function pg_temp.nanoseconds;

-- Positions move by fills only, in the transaction of the fill.
create table positions (
    instance   text not null,
    uid        uuid not null,
    mode       trading_mode not null,
    revision   text,
    provider   text not null,
    symbol     text not null,
    quantity   signed_amount not null,
    -- What the open quantity cost: exact, unlike its average price.
    cost       signed_amount not null,
    realised   signed_amount not null,
    fees       jsonb not null default '{}' check (jsonb_typeof(fees) = 'object'),
    -- The highest profit so far.
    peak       signed_amount not null,
    updated_at nanoseconds not null
);

create unique index positions_key on positions (uid, mode, coalesce(revision, ''), provider, symbol);

-- What belongs to an account and to no instance. The venue's id of an entry prevents that it is booked twice.
create table ledger_entries (
    id         bigint generated always as identity primary key,
    provider   text not null,
    mode       trading_mode not null,
    kind       text not null check (
        kind in ('opening', 'deposit', 'withdrawal', 'foreign_fill', 'booking', 'inventory')
    ),
    venue_id   text not null check (venue_id <> '' and octet_length(venue_id) <= 256),
    currency   text not null check (currency <> ''),
    amount     signed_amount not null,
    booked_at  nanoseconds not null,
    booked_by  text,
    note       text check (octet_length(note) <= 4096),
    created_at timestamptz not null default now(),
    unique (provider, mode, kind, venue_id, currency)
);

create index ledger_entries_by_time on ledger_entries (provider, mode, booked_at);

-- The risk state of a scope: losses, breaches, breaker and throttle. Its day only moves forward.
create table risk_states (
    scope            text not null check (scope in ('global', 'provider', 'instance')),
    subject          text not null,
    mode             trading_mode not null,
    -- Null before the first valuation, like the amounts: profits in the currency of the limits.
    day              date,
    currency         text not null,
    opening          signed_amount,
    profit           signed_amount,
    peak             signed_amount,
    -- What a drawdown is measured against.
    base             signed_amount,
    valued_at        nanoseconds not null default 0,
    -- The times of the breaches in the sliding window.
    breaches         jsonb not null default '[]' check (jsonb_typeof(breaches) = 'array'),
    breaker_until    nanoseconds not null default 0,
    breaker_cooldown nanoseconds not null default 0,
    -- When the bucket of the throttle is full again.
    throttle_full_at nanoseconds,
    updated_at       nanoseconds not null,
    primary key (scope, subject, mode),
    check ((scope = 'global') = (subject = ''))
);

-- Orders and amendments that were refused before anything left. A row stands for `count` of them, of one instance
-- and rule within a short time: it has the text of the first one.
create table refusals (
    id         bigint generated always as identity primary key,
    refused_at nanoseconds not null,
    last_refused_at nanoseconds not null,
    count      bigint not null check (count > 0),
    instance   text not null,
    uid        uuid not null,
    mode       trading_mode not null,
    revision   text,
    provider   text not null,
    symbol     text not null,
    order_id   uuid,
    rule       text not null,
    message    text not null check (octet_length(message) <= 4096),
    seen       text check (octet_length(seen) <= 4096),
    "limit"    text check (octet_length("limit") <= 4096),
    -- What it led to as a breach; null if the rule does not count.
    verdict    text check (verdict in ('counted', 'cooldown', 'halt')),
    created_at timestamptz not null default now()
);

create index refusals_of_instance on refusals (instance, id desc);
create index refusals_by_age on refusals (created_at);

-- What could not be stored as it was, in its raw form.
create table dead_letters (
    id         bigint generated always as identity primary key,
    source     text not null,
    error      text not null,
    raw        bytea not null,
    created_at timestamptz not null default now()
);

create index dead_letters_by_age on dead_letters (created_at);

-- What operators did to trading, in the transaction of its effect or before it.
create table operator_actions (
    id         bigint generated always as identity primary key,
    action     text not null check (
        action in ('halt', 'resume', 'flatten', 'resolve', 'book', 'query', 'adopt', 'disown', 'release', 'cancel')
    ),
    -- The scope, the order, the currency at a provider, or the client order id that it was about.
    subject    text not null,
    acted_by   text not null check (acted_by <> '' and octet_length(acted_by) <= 256),
    reason     text not null check (reason <> '' and octet_length(reason) <= 4096),
    acted_at   nanoseconds not null,
    details    json not null default '{}',
    created_at timestamptz not null default now()
);

create index operator_actions_of_subject on operator_actions (subject, id desc);

-- What a strategy saved, as JSON. The type is text, because jsonb refuses an escaped NUL.
create table checkpoints (
    uid         uuid not null,
    mode        trading_mode not null,
    instance    text not null,
    revision    text,
    state       text not null check (octet_length(state) <= 1048576),
    -- The last report that the callbacks of the strategy saw.
    last_report bigint not null,
    saved_at    nanoseconds not null,
    primary key (uid, mode)
);

-- How far the fills of an account are committed, in the venue's time or by the venue's id of a fill. The symbol
-- is empty for the whole account.
create table watermarks (
    provider   text not null,
    mode       trading_mode not null,
    symbol     text not null default '',
    venue_time nanoseconds not null,
    venue_id   text check (octet_length(venue_id) <= 256),
    updated_at timestamptz not null default now(),
    primary key (provider, mode, symbol)
);

-- What a reconciliation found.
create table reconciliations (
    id         bigint generated always as identity primary key,
    provider   text not null,
    mode       trading_mode not null,
    cause      text not null,
    started_at nanoseconds not null,
    ended_at   nanoseconds not null,
    -- Whether ours and the venue's agreed afterwards.
    agreed     boolean not null,
    found      json not null,
    created_at timestamptz not null default now()
);

-- The number of the last commit of each writer. A writer whose COMMIT was not answered reads it: the id of the
-- transaction would not do, because a server that crashes may give it to another one.
create table commits (
    writer       uuid primary key,
    number       bigint not null,
    committed_at timestamptz not null default now()
);

create index reconciliations_of_provider on reconciliations (provider, id desc);
create index reconciliations_by_age on reconciliations (created_at);

-- When the last consumer received the event; events are kept for a while after that.
alter table outbox add column delivered_at timestamptz;
-- Events are written once and read whole, so their text is kept as it is.
alter table outbox alter column payload type json;
alter table outbox add constraint outbox_payload_check check (octet_length(payload::text) <= 65536);
