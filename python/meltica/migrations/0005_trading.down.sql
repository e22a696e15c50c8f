-- Drops what the older version has no place for. Amounts and times of orders, fills and balances stay, with
-- microseconds.

alter table outbox
    drop constraint outbox_payload_check,
    drop column delivered_at,
    alter column payload type jsonb using payload::jsonb;
drop table operator_actions, commits, home, reconciliations, watermarks, checkpoints, dead_letters, refusals, risk_states, ledger_entries, positions;
drop index halts_active;
-- The older version halts live orders by any halt, and has one at a time for each scope.
delete from halts where mode = 'paper';
delete from halts narrower using halts wider
where narrower.mode = 'live' and wider.mode is null
  and narrower.cleared_at is null and wider.cleared_at is null
  and (narrower.scope, narrower.subject) = (wider.scope, wider.subject);
alter table halts drop column halted_by, drop column mode;
create unique index halts_active on halts (scope, subject) where cleared_at is null;
alter table instances drop column uid;

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

create function pg_temp.instant(at bigint) returns timestamptz language sql immutable
    return timestamptz 'epoch' + (at / 1000) * interval '1 microsecond';

drop index balances_by_time;
delete from balances where mode <> 'live';
-- Times that differed in nanoseconds only would be the same.
delete from balances older using balances newer
where older.provider = newer.provider and older.currency = newer.currency
  and older.snapshot_at / 1000 = newer.snapshot_at / 1000 and older.snapshot_at < newer.snapshot_at;
alter table balances
    drop constraint balances_pkey,
    drop column mode,
    alter column snapshot_at type timestamptz using pg_temp.instant(snapshot_at),
    add constraint balances_pkey primary key (provider, currency, snapshot_at);

drop index fills_of_instance, fills_by_report;
alter table fills
    drop constraint fills_execution_id_length_check,
    drop column provider,
    drop column instance,
    drop column rule,
    drop column trade_id,
    drop column report,
    alter column traded_at type timestamptz using pg_temp.instant(traded_at);

drop index orders_of_instance_by_state, orders_by_end, orders_by_end_report;
alter table orders
    drop constraint orders_client_order_id_key,
    add constraint orders_provider_client_order_id_key unique (provider, client_order_id),
    drop constraint orders_amendment_check,
    drop constraint orders_venue_order_id_check,
    drop column uid,
    drop column mode,
    drop column revision,
    drop column post_only,
    drop column reduce_only,
    drop column limit_price,
    drop column tag,
    drop column expires_at,
    drop column reason,
    drop column cancel_wanted,
    drop column amendment_price,
    drop column amendment_quantity,
    drop column amendment_sent_at,
    drop column amendment_unknown,
    drop column approved_at,
    drop column committed_at,
    drop column sent_at,
    drop column venue_time,
    drop column end_report;
alter table orders rename column filled_cost to average_price;
alter table orders rename column ended_at to completed_at;
alter table orders rename column intent_at to placed_at;
select pg_temp.rename_constraints('orders', 'orders_intent_at_', 'orders_placed_at_');
alter table orders
    alter column average_price drop not null,
    alter column average_price drop default;
alter table orders
    alter column average_price type amount using trim_scale(average_price / nullif(filled_quantity, 0)),
    alter column placed_at type timestamptz using pg_temp.instant(placed_at),
    alter column acknowledged_at type timestamptz using pg_temp.instant(acknowledged_at),
    alter column completed_at type timestamptz using pg_temp.instant(completed_at);

drop function pg_temp.rename_constraints;
drop function pg_temp.instant;
drop domain trading_mode, signed_amount, nanoseconds;
