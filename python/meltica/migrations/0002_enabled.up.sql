-- The last known value of `enabled` in the configuration file; null for an entry that the file does not declare or
-- whose value has not been recorded yet. A change of this value replaces the desired state that was requested at
-- run time.
alter table providers add column enabled boolean;
alter table instances add column enabled boolean;
