-- Consumers of some events would receive all.
delete from outbox_consumers where events is not null;
alter table outbox_consumers drop column events;

create or replace function report_lifecycle() returns trigger
language plpgsql set search_path from current as $$
declare
    kind constant text := tg_argv[0];
    subject constant jsonb := to_jsonb(coalesce(new, old));
    name constant text := coalesce(subject ->> 'id', subject ->> 'name');
    happened text;
begin
    happened = case
        when tg_op = 'INSERT' then 'created'
        when tg_op = 'DELETE' then 'deleted'
        when old.actual <> new.actual then new.actual
        when old.desired = new.desired then null
        when new.desired = 'running' then 'start_requested'
        else 'stop_requested'
    end;
    if happened is null then
        return null;
    end if;
    with event as (
        insert into outbox (aggregate_type, aggregate_id, event_type, payload)
        values (
            'lifecycle', kind || ':' || name, kind || '.' || happened,
            json_strip_nulls(json_build_object(
                'kind', kind, 'name', name, 'desired', subject ->> 'desired', 'actual', subject ->> 'actual',
                'error', left(subject ->> 'last_error', 1000)
            ))
        )
        returning id
    )
    insert into outbox_deliveries (consumer, event) select outbox_consumers.name, event.id from outbox_consumers, event;
    return null;
end;
$$;
