-- One row: a gateway raises the epoch each time it takes the lock. A write proves the epoch of its gateway, and a
-- gateway that regains the lock sees whether another one held it meanwhile.
create table gateway (
    id    boolean primary key default true check (id),
    epoch bigint not null default 0 check (epoch >= 0)
);

insert into gateway default values;
