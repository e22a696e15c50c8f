-- What is configured while a gateway runs: secrets of providers, and risk limits.

-- Key of a setting -> its encrypted value. In `settings` the value is masked.
alter table providers add column secrets jsonb not null default '{}' check (jsonb_typeof(secrets) = 'object');
-- The master key that encrypted them.
alter table providers add column key_id text check (key_id <> '');
alter table providers add constraint providers_name_their_key check ((secrets = '{}') = (key_id is null));

-- One row, so that the limits of several scopes change at once.
create table risk_limits (
    id         text primary key check (id = 'limits'),
    -- Scope (`global`, `provider:NAME`, `instance:ID`) -> all of its limits.
    limits     jsonb not null check (jsonb_typeof(limits) = 'object'),
    -- Scope -> what the config file stated when they were set: an edit of the file replaces them.
    configured jsonb not null check (jsonb_typeof(configured) = 'object'),
    updated_at timestamptz not null default now()
);
