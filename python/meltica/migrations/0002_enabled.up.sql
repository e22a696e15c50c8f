-- What the configuration file said last of an entry; null for what is not from the file, or was not yet told.
-- A change of it is a wish of its own, which replaces what was asked for at run time.
alter table providers add column enabled boolean;
alter table instances add column enabled boolean;
