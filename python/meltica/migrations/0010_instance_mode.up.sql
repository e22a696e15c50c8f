-- Whether the orders of an instance go to paper accounts. The config file states it for its lambdas at each start.
alter table instances add column dry_run boolean not null default true;
