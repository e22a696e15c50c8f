-- Who may use the control plane, and what was changed by whom.

create table tokens (
    -- The part of a token that is not secret.
    id           text primary key check (id ~ '^[0-9a-z]{12}$'),
    name         text not null check (octet_length(name) between 1 and 256),
    scope        text not null check (scope in ('viewer', 'operator', 'admin')),
    -- SHA-256 of the secret. A secret has 256 random bits, so it cannot be guessed, and a slow hash is not needed.
    hash         bytea not null check (octet_length(hash) = 32),
    created_at   timestamptz not null default now(),
    created_by   text not null,
    expires_at   timestamptz,
    -- Behind by up to a minute.
    last_used_at timestamptz,
    revoked_at   timestamptz
);

-- One row for each change. Rows are numbered without gaps, and each has the hash of the one before.
create table audit (
    id       bigint primary key,
    acted_at timestamptz not null default clock_timestamp(),
    actor    text not null check (actor <> ''),
    action   text not null check (action <> ''),
    subject  text not null,
    before   jsonb,
    after    jsonb,
    previous bytea not null,
    hash     bytea not null
);

-- One row: the last one of the audit. It shows a loss of the latest rows, and its lock orders the writers.
create table audit_head (
    singleton boolean primary key default true check (singleton),
    id        bigint not null,
    hash      bytea not null
);

insert into audit_head (id, hash) values (0, decode(repeat('00', 32), 'hex'));

-- What the hash of a row covers, beside the hash of the one before.
create function audit_text(entry audit) returns text
language sql stable
return jsonb_build_array(
    entry.id, (extract(epoch from entry.acted_at) * 1000000)::bigint, entry.actor, entry.action, entry.subject,
    entry.before, entry.after
)::text;

create function append_audit() returns trigger
language plpgsql set search_path from current as $$
begin
    select head.id + 1, head.hash into strict new.id, new.previous from audit_head as head for update;
    new.hash = sha256(new.previous || convert_to(audit_text(new), 'UTF8'));
    update audit_head set id = new.id, hash = new.hash;
    return new;
end;
$$;

create trigger audit_append before insert on audit for each row execute function append_audit();

create function keep_audit() returns trigger
language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('meltica.prune_audit', true) = 'on' then
        return old;
    end if;
    raise exception 'rows of the audit are never changed, and removed only by `meltica audit export --prune`'
        using errcode = 'insufficient_privilege';
end;
$$;

create trigger audit_keep before update or delete on audit for each row execute function keep_audit();
create trigger audit_keep_all before truncate on audit for each statement execute function keep_audit();
