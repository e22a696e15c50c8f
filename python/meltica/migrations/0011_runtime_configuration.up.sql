-- Settings that were changed while a gateway ran; they replace those of the config file.

-- One row, so that the settings of one request change at once.
create table runtime_configuration (
    id         text primary key check (id = 'runtime'),
    -- Key, such as `log.level` -> its value.
    settings   jsonb not null check (jsonb_typeof(settings) = 'object'),
    -- Key -> what the config file stated when it was set; absent if nothing. An edit of the file replaces it.
    configured jsonb not null check (jsonb_typeof(configured) = 'object'),
    updated_at timestamptz not null default now()
);
