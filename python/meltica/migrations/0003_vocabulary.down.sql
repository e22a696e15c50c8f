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

select pg_temp.rename_constraints('balances', 'balances_currency_', 'balances_asset_');
alter table balances rename column currency to asset;

alter table fills rename column fee_currency to fee_asset;
alter index fills_by_time rename to executions_by_time;
alter table fills rename to executions;
select pg_temp.rename_constraints('executions', 'fills_', 'executions_');

-- Every id of the new form is also valid in the old form.
alter table orders drop constraint orders_client_order_id_check;
alter table orders add constraint orders_client_order_id_check
    check (length(client_order_id) between 1 and 20);
alter index orders_by_venue_order_id rename to orders_by_external_ref;
alter table orders rename column venue_order_id to external_ref;
select pg_temp.rename_constraints('orders', 'orders_filled_quantity_', 'orders_filled_');
alter table orders rename column filled_quantity to filled;
select pg_temp.rename_constraints('orders', 'orders_order_type_', 'orders_type_');
alter table orders rename column order_type to type;

drop function pg_temp.rename_constraints;
