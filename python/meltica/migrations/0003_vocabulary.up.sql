-- Renames columns to the names that the rest of Meltica uses, renames executions to fills, and restricts client
-- order ids to the form that every venue accepts.
--
-- Venues know an order by its client order id, so existing ids cannot be rewritten. A row with an id of another
-- form stops this migration, which then changes nothing.

do $$
declare
    found bigint;
    example text;
begin
    select count(*), min(client_order_id) into found, example from orders
    where client_order_id !~ '^[0-9a-z]{1,18}$';
    if found > 0 then
        raise exception 'client order ids other than 1 to 18 of [0-9a-z]: % rows of orders, such as %; '
            'venues know these orders by these ids, so nothing was changed: move the rows to another table or '
            'delete them, then migrate again', found, to_json(example);
    end if;
end;
$$;

-- Renames the constraints that PostgreSQL named after a table or column.
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

alter table orders rename column type to order_type;
select pg_temp.rename_constraints('orders', 'orders_type_', 'orders_order_type_');
alter table orders rename column filled to filled_quantity;
select pg_temp.rename_constraints('orders', 'orders_filled_', 'orders_filled_quantity_');
alter table orders rename column external_ref to venue_order_id;
alter index orders_by_external_ref rename to orders_by_venue_order_id;
alter table orders drop constraint orders_client_order_id_check;
alter table orders add constraint orders_client_order_id_check check (client_order_id ~ '^[0-9a-z]{1,18}$');

alter table executions rename to fills;
select pg_temp.rename_constraints('fills', 'executions_', 'fills_');
alter index executions_by_time rename to fills_by_time;
alter table fills rename column fee_asset to fee_currency;

alter table balances rename column asset to currency;
select pg_temp.rename_constraints('balances', 'balances_asset_', 'balances_currency_');

drop function pg_temp.rename_constraints;
