-- Strategy modules: their revisions, and the tags that select one.

create table module_revisions (
    hash       text primary key,
    name       text not null check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    version    text,
    source     bytea not null check (octet_length(source) <= 1048576),
    -- What the class says about itself, as the check of the upload returned it.
    metadata   jsonb not null check (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz not null default clock_timestamp(),
    check (hash = 'sha256:' || encode(sha256(source), 'hex')),
    unique (name, hash)
);

create table module_tags (
    name       text not null,
    tag        text not null check (tag ~ '^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$'),
    hash       text not null,
    updated_at timestamptz not null default clock_timestamp(),
    -- A revision is deleted only together with its tags, which are deleted first.
    foreign key (name, hash) references module_revisions (name, hash)
);

-- `V1` and `v1` are one tag.
create unique index module_tags_by_name on module_tags (name, lower(tag));
create index module_tags_of_revision on module_tags (hash);

-- The revision that an instance is pinned to. Those of files and shipped strategies are not stored here.
alter table instances add column module text
    generated always as (case when selector ~ '^[^/]*[:@]' then revision end) stored;
-- Not valid: rows that were written before may name a revision that was never stored.
alter table instances add foreign key (module) references module_revisions (hash) not valid;
