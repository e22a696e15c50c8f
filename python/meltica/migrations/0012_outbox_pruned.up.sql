-- The highest number of an event that was deleted: a stream that has seen fewer does not resume without a gap.
create table outbox_pruned (
    single boolean primary key default true check (single),
    up_to  bigint not null
);

-- Which events were deleted before is not known.
insert into outbox_pruned (up_to)
select coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')), 0);
